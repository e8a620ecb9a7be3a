"""Wrappers: tasks whose observations, actions or rewards are those of another task, changed.

- `tasks.wrappers.base`: the base class `TaskWrapper`.
- `tasks.wrappers.previous_action_reward`: `PreviousActionReward`, the last action and reward in the observation.
- `tasks.wrappers.notes`: `Notes`, a memory outside of the agent that its actions write and its observations show.
- `tasks.wrappers.memory_tape`: `MemoryTape`, such a memory with a head that its actions move.
- `tasks.wrappers.joint_actions`: the actions of a wrapper beside those of its task.

```python
import torch
from tasks import Notes, TMaze

task, rng = Notes(TMaze(3), bits=1), torch.Generator().manual_seed(0)
state, step = task.reset(2, rng)  # 2 episodes
up_and_set = torch.tensor([[0, 1], [0, 1]])
state, step = task.step(state, up_and_set, rng)
assert step.obs[:, -1].tolist() == [1, 1]
```
"""
