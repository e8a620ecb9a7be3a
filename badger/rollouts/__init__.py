"""Rollouts: an agent acts in a batch of episodes of a task.

- `badger.rollouts.loop`: `rollout`, the loop over steps.
- `badger.rollouts.trajectory`: `Carry`, the state between steps, and `Trajectory`, the recorded steps.
- `badger.rollouts.open_loop`: all steps at once, for tasks whose observations do not depend on actions.
- `badger.rollouts.recording`: replay of recorded steps, with gradient or with other weights.
- `badger.rollouts.recorded`: rollouts with gradient that store records of the core's steps instead of a graph.
- `badger.rollouts.checkpointing`: gradient checkpointing over time, for long episodes.
- `badger.rollouts.precision`: bfloat16 matrix products and `torch.compile` for the agent's step.
- `badger.rollouts.actor`: `Actor`: a trained agent that acts in an environment, observations in, actions out.
- `badger.rollouts.env_roundtrip`, `badger.rollouts.env_libraries`: a task run through its Gymnasium or PettingZoo
  environments.

```python
import torch
import badger

learner = badger.build_run("guessing_game", batch=4).learner
agent, task, rng = learner.agent, learner.task, torch.Generator().manual_seed(0)
carry = badger.initial_carry(agent, task, 4, rng)
trajectory, carry = badger.rollout(agent, task, carry, rng, steps=3)
assert trajectory.reward.shape == (3, 4)  # steps, episodes
```
"""
