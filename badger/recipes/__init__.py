"""Recipes: typed functions whose keyword arguments are the whole configuration of a run.

`badger train guessing_game --experts 8` and `badger.build("guessing_game", experts=8)` are the same. A recipe of
one's own is any function that returns a `Run`, named `module:function`.
"""

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from badger.recipes.control import cartpole
from badger.recipes.external import gymnasium, pettingzoo
from badger.recipes.games import guessing_game, pooled_recall, repeat_previous
from badger.recipes.mazes import maze
from badger.recipes.rl_memory import card_game, proof_of_memory, t_maze, t_maze_in_pieces, t_maze_long
from badger.recipes.sequences import (
    associative_recall,
    babi,
    copy,
    dictionary_inference,
    priority_sort,
    sequential_mnist,
)
from badger.registry import named
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
    "t_maze_in_pieces": t_maze_in_pieces,
    "t_maze_long": t_maze_long,
}
"""Recipes by name."""


def find(name: str) -> Callable[..., Run]:
    """The recipe of that name, or a user's own `module:function`.

    Raises:
        ValueError: no such recipe, module or function.
    """
    return named(RECIPES, name, "recipe", lambda found: inspect.isfunction(found) or isinstance(found, partial))


def build(recipe: str, **arguments: Any) -> Run:
    """A new run that remembers how it was made, so that it can be loaded again.

    Raises:
        ValueError: unknown recipe, an argument that it does not have, or a value that it refuses.
    """
    function = find(recipe)
    known = inspect.signature(function).parameters
    unknown = set(arguments) - set(known)
    if unknown:
        has = ", ".join(known)
        raise ValueError(f"recipe {recipe!r} has no argument {sorted(unknown)}; it has {has}")
    run = function(**arguments)
    if not isinstance(run, Run):
        raise ValueError(f"recipe {recipe!r} returned {type(run).__name__}, want a badger.Run")
    run.recipe, run.arguments = recipe, arguments
    defaults = {name: flag.default for name, flag in known.items() if name not in arguments}
    run.defaults = {name: default for name, default in defaults.items() if _plain(default)}
    return run


def _plain(value: Any) -> bool:
    """Whether JSON knows it."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True


__all__ = ["RECIPES", "build", "find"]
