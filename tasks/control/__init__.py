"""Control tasks with hidden state: mazes, T- and I-mazes, a proof of memory, cart pole, a walk, and teams.

- `tasks.control.mazes`: `Maze`, with an invisible goal that is reached several times in an episode; `IMaze`, a corridor
  with an indicator at one end and two goals at the other; `Labyrinth`, a goal search in random mazes.
- `tasks.control.t_maze`: `TMaze`, the passive T-maze: a cue at the start gives the direction of a turn many steps
  later.
- `tasks.control.t_maze_long`: `TMazeLong`, T-Maze-Long of the AMRL paper, with or without observation noise.
- `tasks.control.proof_of_memory`: `ProofOfMemory`, a corridor with a good and a bad end, which are
  observed only in the first steps.
- `tasks.control.load_unload`: `LoadUnload`, goods are carried along a line by a cart that does not observe its load.
- `tasks.control.spread`: `Spread`, several agents that cover landmarks: simple_spread of PettingZoo and MPE2, batched.
  `tasks.control.spread_physics`: its discs; `tasks.control.spread_script`: its reference players.
- `tasks.control.tree_mdp`: `TreeMDP`, a fixed random tree of choices, fully observed, with rewards at its leaves.
  `tasks.control.tree_mdp_tables`: many such trees as tables, and their exact values.
- `tasks.control.cart_pole`: `CartPole`, batched; velocities can be masked.
- `tasks.control.mountain_hike`: `MountainHike`, a walk by noisy observations of one's position, and its planners.

```python
import torch
from tasks.control.t_maze import TMaze

task, rng = TMaze(), torch.Generator().manual_seed(0)
state, step = task.reset(3, rng)
while not (step.terminated | step.truncated).all():
    state, step = task.step(state, torch.randint(task.action_space.size, (3,), generator=rng), rng)
```
"""
