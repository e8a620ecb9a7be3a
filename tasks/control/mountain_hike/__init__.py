"""Mountain Hike: a walk along a ridge by noisy observations of one's position (Igl et al. 2018).

- `tasks.control.mountain_hike.task`: `MountainHike`, the task.
- `tasks.control.mountain_hike.model`: its constants, its reward, and `HikeModel`, its linear Gaussian model.
- `tasks.control.mountain_hike.planner`: reference players by value iteration.

```python
import torch
from tasks.control.mountain_hike.task import MountainHike

task, rng = MountainHike(noise=0.3), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
state, step = task.step(state, torch.zeros(3, 2), rng)
assert step.obs.shape == (3, 2)
```
"""
