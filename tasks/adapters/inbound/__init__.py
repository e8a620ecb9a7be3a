"""Environments of Gymnasium and PettingZoo as tasks: a batch of checked copies, optionally in worker processes.

- `tasks.adapters.inbound.gymnasium_task` and `tasks.adapters.inbound.pettingzoo_task`: the two tasks. Start here.
- `tasks.adapters.inbound.env_pool`: batched copies behind a handle; idle copies are reused.
- `tasks.adapters.inbound.worker_pool`, `tasks.adapters.inbound.env_worker`: copies in worker processes.
- `tasks.adapters.inbound.checked_env`: checks of every value that an environment returns, and time limits. Errors name
  the copy, its seed and the step.
- `tasks.adapters.inbound.rewards`: checks of rewards.
- `tasks.adapters.inbound.gymnasium_spec`: lookup, construction and description of an environment.
- `tasks.adapters.inbound.multi_agent_env`, `tasks.adapters.inbound.multi_agent_observations`,
  `tasks.adapters.inbound.multi_agent_actions`: several agents as one environment with arrays of one shape.
- `tasks.adapters.inbound.spaces`: observation and action spaces.
"""
