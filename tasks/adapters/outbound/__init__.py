"""Tasks as environments of Gymnasium and PettingZoo, one episode at a time.

- `tasks.adapters.outbound.gymnasium_env`: `to_gymnasium`, for a single agent.
- `tasks.adapters.outbound.parallel_env`: `to_parallel_env`, for several agents.
- `tasks.adapters.outbound.episode`: the current episode of a task, shared by both.
- `tasks.adapters.outbound.joint_action`: how the actions of several agents form one action of the task.
- `tasks.adapters.outbound.spaces`: observation and action spaces. `tasks.adapters.outbound.rendering`: images, text.
"""
