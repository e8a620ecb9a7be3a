"""Rollouts: the inner loop, in which an agent and a task take turns.

- `badger.rollouts.loop`: `rollout`, the only loop.
- `badger.rollouts.trajectory`: the values that it takes and returns: where it stands, and the recorded steps.
- `badger.rollouts.open_loop`: all steps at once, for tasks whose observations do not depend on actions.
- `badger.rollouts.recording`: recorded steps computed again, with gradient or with other weights.
- `badger.rollouts.checkpointing`: gradient checkpointing over time, for long episodes.
- `badger.rollouts.precision`: bfloat16 matrix products and `torch.compile` for the agent's step.
- `badger.rollouts.env_roundtrip`, `badger.rollouts.env_libraries`: a task played through its Gymnasium or PettingZoo
  form.

```python
import torch
import badger

learner = badger.build("guessing_game", batch=4).learner
agent, task, rng = learner.agent, learner.task, torch.Generator().manual_seed(0)
frames, carry = badger.rollout(agent, task, badger.start(agent, task, 4, rng), rng, steps=3)
assert frames.reward.shape == (3, 4)  # steps, episodes
```
"""
