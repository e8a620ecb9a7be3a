"""Recipes: typed functions that build an agent for a task; their arguments are the configuration of a run.

`badger train guessing_game --experts 8` and `badger.build_run("guessing_game", experts=8)` are the same. A recipe of
your own is any function that returns a `Run`; it is named `module:function`.

- `badger.recipes.build`: makes a run from the name of its recipe, and loads one from its folder.
- `badger.recipes.actors`: loads the trained agent of a run folder, to act in an environment.
- `badger.recipes.settings`: `Setup`, the flags that all recipes share.
- `badger.recipes.parts`: flags that name a part, such as `--core dnc`, and the options of parts, `--core.slots 32`.
- `badger.recipes.flags`: the decorator `recipe`, which joins these flags with a recipe's own.
- `badger.recipes.games`, `badger.recipes.sequences`, `badger.recipes.control`, `badger.recipes.rl_memory`,
  `badger.recipes.external`, `badger.recipes.arcade`, `badger.recipes.belief`, `badger.recipes.recordings` (what is
  learned from recorded episodes): the recipes, by the kind of their task.

`RECIPES` has every recipe by name.

```python
import badger

run = badger.build_run("guessing_game", experts=8, batch=4)
assert run.learner.agent.experts == 8
```
"""

from collections.abc import Callable

from badger.recipes.arcade import atari, minatar
from badger.recipes.belief import dec_tiger, mountain_hike, pomdp
from badger.recipes.control import cart_world, cartpole, four_rooms, labyrinth, maze, random_walk_graph, spread
from badger.recipes.external import gymnasium, pettingzoo
from badger.recipes.games import catch, gambling, guessing_game, pooled_recall, repeat_previous
from badger.recipes.recordings.recipe import offline
from badger.recipes.rl_memory import (
    ballet,
    card_game,
    i_maze,
    input_tape,
    key_to_door,
    load_unload,
    proof_of_memory,
    t_maze,
    t_maze_long,
    t_maze_r2d2,
)
from badger.recipes.sequences import (
    associative_recall,
    babi,
    ballet_recall,
    copy,
    dictionary_inference,
    noisy_recall,
    nth_farthest,
    pathfinding,
    priority_sort,
    sequential_mnist,
)
from badger.registry import register
from badger.runs.run import Run

RECIPES: dict[str, Callable[..., Run]] = register(
    "recipes",
    [
        (recipe.__name__, recipe)
        for recipe in (
            associative_recall, atari, babi, ballet, ballet_recall, card_game, cart_world, cartpole, catch,
            copy, dec_tiger, dictionary_inference, four_rooms, gambling, guessing_game, gymnasium, i_maze,
            input_tape, key_to_door, labyrinth, load_unload, maze, minatar, mountain_hike, noisy_recall, nth_farthest,
            offline, pathfinding, pettingzoo, pomdp, pooled_recall, priority_sort, proof_of_memory,
            random_walk_graph, repeat_previous, sequential_mnist, spread, t_maze, t_maze_long, t_maze_r2d2,
        )
    ],
)  # fmt: skip
"""Recipes by name."""

__all__ = ["RECIPES"]
