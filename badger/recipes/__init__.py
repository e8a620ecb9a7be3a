"""Recipes: typed functions that build an agent for a task; their arguments are the configuration of a run.

`badger train guessing_game --experts 8` and `badger.build("guessing_game", experts=8)` are the same. A recipe of your
own is any function that returns a `Run`; it is named `module:function`.

- `badger.recipes.build`: makes a run from the name of its recipe, and loads one from its folder.
- `badger.recipes.settings`: `Setup`, the flags that all recipes share. `badger.recipes.memories`: those of memories.
- `badger.recipes.flags`: the decorator `recipe`, which joins these flags with a recipe's own.
- `badger.recipes.games`, `badger.recipes.sequences`, `badger.recipes.control`, `badger.recipes.rl_memory`,
  `badger.recipes.external`: the recipes, by the kind of their task.

`RECIPES` has every recipe by name.

```python
import badger

run = badger.build("guessing_game", experts=8, batch=4)
assert run.learner.agent.experts == 8
```
"""

from collections.abc import Callable

from badger.recipes.control import cartpole, maze
from badger.recipes.external import gymnasium, pettingzoo
from badger.recipes.games import guessing_game, pooled_recall, repeat_previous
from badger.recipes.rl_memory import card_game, proof_of_memory, t_maze, t_maze_long, t_maze_r2d2
from badger.recipes.sequences import (
    associative_recall,
    babi,
    copy,
    dictionary_inference,
    priority_sort,
    sequential_mnist,
)
from badger.runs.run import Run

RECIPES: dict[str, Callable[..., Run]] = {
    "associative_recall": associative_recall,
    "babi": babi,
    "card_game": card_game,
    "cartpole": cartpole,
    "copy": copy,
    "dictionary_inference": dictionary_inference,
    "guessing_game": guessing_game,
    "gymnasium": gymnasium,
    "maze": maze,
    "pettingzoo": pettingzoo,
    "pooled_recall": pooled_recall,
    "priority_sort": priority_sort,
    "proof_of_memory": proof_of_memory,
    "repeat_previous": repeat_previous,
    "sequential_mnist": sequential_mnist,
    "t_maze": t_maze,
    "t_maze_r2d2": t_maze_r2d2,
    "t_maze_long": t_maze_long,
}
"""Recipes by name."""

__all__ = ["RECIPES"]
