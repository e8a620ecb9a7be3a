"""Adapters: environments of Gymnasium and PettingZoo as tasks, and tasks as environments.

- `tasks.adapters.inbound`: `Gymnasium` and `PettingZoo`, which batch copies of an environment, optionally in worker
  processes.
- `tasks.adapters.outbound`: `to_gymnasium` and `to_parallel_env`, which wrap a task as a `gymnasium.Env` or a
  `pettingzoo.ParallelEnv`.
- `tasks.adapters.named_imports`: imports of modules that a string names, and which of them are allowed.
- `tasks.adapters.optional_imports`: imports of the two libraries, with installation advice.
- `tasks.adapters.pictures`: environments that keep the pictures of an episode.

```python
from tasks import GuessingGame, to_gymnasium

env = to_gymnasium(GuessingGame(dims=4))
obs, info = env.reset(seed=0)
obs, reward, terminated, truncated, info = env.step(env.action_space.sample())
```
"""
