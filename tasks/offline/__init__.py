"""Tasks whose optimum can be learned from recordings of random actions, and one in which luck is taken for skill.

- `tasks.offline.random_walk_graph`: `RandomWalkGraph`, shortest paths in a graph from random walks.
- `tasks.offline.key_to_door`: `KeyToDoor`, a door pays only if a key was taken two rooms before.
- `tasks.offline.four_rooms`: `FourRooms`, a goal in a grid of four rooms.
- `tasks.offline.gambling`: `Gambling`, a safe choice and a gamble that pays more at best and less on average.
- `tasks.offline.cart_world`: `CartWorld`, a cart on a line that is to have given speeds for given shares of the time.

```python
import torch
from tasks.offline.random_walk_graph import RandomWalkGraph

task, rng = RandomWalkGraph(), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
while not (step.terminated | step.truncated).all():
    assert step.action_mask is not None
    neighbor = torch.multinomial(step.action_mask.float(), 1, generator=rng).squeeze(1)
    state, step = task.step(state, neighbor, rng)
```
"""
