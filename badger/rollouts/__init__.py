"""Rollouts: the inner loop, in which an agent and a task go step by step.

loop.py            `rollout`, the only loop
trajectory.py      its values: `Carry` (where it stands), `Trajectory` (what happened), `start`, `cut`, `first_episode_mask`
open_loop.py       all steps at once, where no action changes what will be observed
recording.py       a recorded passage computed again, with gradient or with other weights
checkpointing.py   long episodes in segments: gradient checkpointing over time
precision.py       bfloat16 and torch.compile for the agent's step
env_roundtrip.py   a task played through its Gymnasium or PettingZoo form; env_libraries.py: those forms
"""
