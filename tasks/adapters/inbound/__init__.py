"""Environments of Gymnasium and PettingZoo as tasks: a batch of checked copies, optionally in worker processes.

- `tasks.adapters.inbound.gymnasium_task` and `tasks.adapters.inbound.pettingzoo_task`: the two tasks. Start here.
- `tasks.adapters.inbound.env_pool`: batched copies behind a handle; idle copies are reused.
- `tasks.adapters.inbound.workers`: copies in worker processes.
- `tasks.adapters.inbound.env_batch`, `tasks.adapters.inbound.checked_env`: copies that are stepped in turn, with checks
  of every value that they return, and time limits. Errors name the copy, its seed and the step.
- `tasks.adapters.inbound.results`, `tasks.adapters.inbound.rewards`: checks of results and of rewards.
- `tasks.adapters.inbound.gymnasium_spec`: lookup, construction and description of an environment.
- `tasks.adapters.inbound.atari`: Atari games with the usual preprocessing.
- `tasks.adapters.inbound.multi_agent_env`, `tasks.adapters.inbound.multi_agent_spaces`: several agents as one
  environment with arrays of one shape.
- `tasks.adapters.inbound.as_parallel`: agents that take turns, or are listed in tuples, as agents that act at once.
- `tasks.adapters.inbound.spaces`: observation and action spaces.
"""
