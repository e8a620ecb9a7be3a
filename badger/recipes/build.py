"""Build a run from its recipe, load it from its folder, or train it to the end.

A run is loaded by calling its recipe again and restoring the state, so that this module imports both runs and recipes.
"""

import inspect
import json
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from badger.recipes import RECIPES
from badger.recipes.flags import check_known, option_defaults
from badger.registry import check_trusted, modules, references, resolve_name
from badger.runs.run import Description, Run, read_description
from badger.runs.training import train


def find_recipe(name: str) -> Callable[..., Run]:
    """The recipe of that name, or a user's own `module:function`.

    Args:
        name: a name in `badger.RECIPES`, or `module:function`.

    Raises:
        ValueError: no such recipe, module or function.
    """
    return resolve_name(RECIPES, name, "recipe", lambda found: inspect.isfunction(found) or isinstance(found, partial))


def build_run(recipe: str, **arguments: Any) -> Run:
    """Builds a new run from a recipe; run.json will hold the recipe and its arguments, so that it can be loaded again.

    Args:
        recipe: a name in `badger.RECIPES`, or `module:function`.
        arguments: of the recipe, and options of the parts that it names, as `**{"core": "dnc", "core.slots": 16}`.

    Raises:
        ValueError: unknown recipe, an argument that it does not have, or a value that it refuses.
    """
    function = find_recipe(recipe)
    known = inspect.signature(function).parameters
    check_known(recipe, known, getattr(function, "parts", ()), arguments)
    run = function(**arguments)
    if not isinstance(run, Run):
        raise ValueError(f"recipe {recipe!r} returned {type(run).__name__}, want a badger.Run")
    run.recipe, run.arguments = recipe, arguments
    defaults = {name: flag.default for name, flag in known.items()} | option_defaults(function, arguments)
    defaults = {name: default for name, default in defaults.items() if name not in arguments}
    run.defaults = {name: default for name, default in defaults.items() if _plain(default)}
    return run


def load_run(
    folder: str | Path, build: Callable[[], Run] | None = None, best: bool = False, trusted: Collection[str] = ()
) -> Run:
    """Loads a run from its folder, as of its last good checkpoint.

    A folder is data: where its run.json names code as `module:name` (its recipe, or a part among the arguments), that
    code is imported only if its module is trusted.

    Args:
        folder: run folder.
        build: returns the untrained run; default: the recipe named in run.json is called.
        best: load the checkpoint of the best averaged return instead; the run is then continued in another folder only.
        trusted: modules whose `module:name` references in run.json may be imported.

    Raises:
        FileNotFoundError: no run there.
        ValueError: built by hand, and no `build` given; code that is not trusted; written by version 0.1; or no good
            checkpoint.
    """
    folder = Path(folder)
    about = read_description(folder)
    if build is None:
        check_trusted(_references(about), trusted, folder / "run.json")
        build = _builder(folder, about)
    run = build()
    run.recipe, run.arguments, run.defaults = about.recipe, about.arguments, about.defaults
    run.restore(folder, best=best)
    return run


def referenced_modules(folder: str | Path) -> tuple[str, ...]:
    """The modules that the run.json of a folder names as `module:name`; imports none of them.

    Args:
        folder: run folder.
    """
    return modules(_references(read_description(folder)))


def load_or_train(folder: str | Path, recipe: str, **arguments: Any) -> Run:
    """The finished run of a folder: trained now, resumed from its last checkpoint, or only loaded.

    Args:
        folder: run folder.
        recipe: a name in `badger.RECIPES`, or `module:function`.
        arguments: of the recipe.

    Raises:
        ValueError: the folder holds a run of another recipe or with other arguments.
    """
    run = load_or_build(folder, recipe, **arguments)
    train(run)
    return run


def load_or_build(folder: str | Path, recipe: str, **arguments: Any) -> Run:
    """The run of a folder as of its last checkpoint, or a new run that will be kept there.

    Args:
        folder: run folder.
        recipe: a name in `badger.RECIPES`, or `module:function`.
        arguments: of the recipe.

    Raises:
        ValueError: the folder holds a run of another recipe or with other arguments.
    """
    if not (Path(folder) / "run.json").exists():
        run = build_run(recipe, **arguments)
        run.folder = Path(folder)
        return run
    about = read_description(folder)
    if (about.recipe, about.arguments) != (recipe, json.loads(json.dumps(arguments))):  # tuples come back as lists
        raise ValueError(
            f"{folder} holds a run of {about.recipe} {about.arguments}, want {recipe} {arguments}; use another folder"
        )
    return load_run(folder, trusted=modules(references([recipe, arguments])))


def _references(about: Description) -> list[str]:
    """References to code in run.json: of the recipe, and anywhere in the arguments."""
    return list(references([about.recipe, about.arguments, about.defaults]))


def _builder(folder: Path, about: Description) -> Callable[[], Run]:
    if about.recipe is None:
        raise ValueError(
            f"{folder} was built by hand, not by a recipe; give the function that builds it: "
            f'badger.load_run("{folder}", build=my_function)'
        )
    return partial(build_run, about.recipe, **about.defaults, **about.arguments)


def _plain(value: Any) -> bool:
    """Whether JSON can hold the value."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
