"""Build a run from its recipe, load it from its folder, or train it to the end.

A run is loaded by calling its recipe again and restoring the state, so that this module imports both runs and recipes.
"""

import inspect
import json
import os
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path
from typing import Any

from badger.errors import BadgerError, DamagedFile
from badger.learners.population import member_learners
from badger.recipes import RECIPES
from badger.recipes.flags import argument_types, check_known, option_defaults, shared_defaults
from badger.registry import resolve_name
from badger.runs import checkpoint
from badger.runs.files import as_path
from badger.runs.json_files import check_fields
from badger.runs.run import Budget, Description, Run, read_description
from badger.runs.training import train
from badger.trust import ALL, check_trusted, code_names, modules, reading
from tasks import EnvError


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
    run.recipe, run.arguments, run.defaults = recipe, arguments, _defaults(function, arguments)
    return run


def load_run(
    folder: str | os.PathLike[str],
    build: Callable[[], Run] | None = None,
    best: bool = False,
    trusted: Collection[str] = (),
    *,
    total_steps: int | None = None,
) -> Run:
    """Loads a run from its folder, as of its last good checkpoint.

    A folder is data, which may come from a stranger (`badger.trust`): where its run.json names code that is not part of
    this library or of a known environment library, that code is imported only if its module is trusted.

    Args:
        folder: run folder.
        build: returns the untrained run; default: the recipe named in run.json is called.
        best: load the checkpoint of the best averaged return instead; the run is then continued in another folder only.
        trusted: modules that run.json may name, each with its sub-modules; `"*"`: all.
        total_steps: train on, up to this number of environment steps over all episodes of a batch. The schedule of the
            learning rate is then that of a run of this length: one that falls to 0 rises to where such a run would be.

    Raises:
        FileNotFoundError: no run there.
        UntrustedCode: run.json names code that is not trusted.
        DamagedFile: a file is damaged, or no checkpoint is good.
        ValueError: built by hand, and no `build` given; arguments that the recipe refuses; written by version 0.1;
            `total_steps` that are done, or of a recipe without outer steps.
    """
    folder = as_path(folder)
    about = read_description(folder)
    run = _build_described(folder, about, trusted) if build is None else build()
    if total_steps is not None:
        if build is not None or "outer_steps" not in inspect.signature(find_recipe(about.recipe or "")).parameters:
            raise ValueError(f"total_steps={total_steps}: {folder} has no recipe whose outer steps could be changed")
        previous, outer_steps = budget(run), -(-total_steps // steps_per_update(run))
        run = _build_described(folder, about._replace(extended_to=outer_steps), trusted)
        run.extended_from = previous
    run.recipe, run.arguments, run.defaults = about.recipe, about.arguments, about.defaults
    run.resolved = about.resolved
    run.restore(folder, best=best)
    if total_steps is not None and run.step >= run.outer_steps:
        raise ValueError(
            f"total_steps={total_steps}, want more than {run.step * steps_per_update(run)}: {folder} has made so many "
            "environment steps"
        )
    return run


def budget(run: Run) -> Budget:
    """The outer steps of a run, and its learning rate over them.

    Args:
        run: any.
    """
    learner: Any = member_learners(run.learner)[0]
    return Budget(run.outer_steps, learner.updater.schedule if hasattr(learner, "updater") else None)


def steps_per_update(run: Run) -> int:
    """Environment steps of an outer step, over all episodes of a batch.

    Args:
        run: its learner has a `batch`, and a `horizon` unless it plays whole episodes.
    """
    learner: Any = member_learners(run.learner)[0]
    return learner.batch * (getattr(learner, "horizon", None) or learner.task.steps)


def referenced_modules(folder: str | os.PathLike[str]) -> tuple[str, ...]:
    """The modules that the run.json of a folder names and that must be trusted to load it; imports none of them.

    Args:
        folder: run folder.
    """
    return modules(_code_names(read_description(folder)))


def load_or_train(folder: str | os.PathLike[str], recipe: str, **arguments: Any) -> Run:
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


def load_or_build(folder: str | os.PathLike[str], recipe: str, **arguments: Any) -> Run:
    """The run of a folder as of its last checkpoint, or a new run that will be kept there.

    Args:
        folder: run folder.
        recipe: a name in `badger.RECIPES`, or `module:function`.
        arguments: of the recipe.

    Raises:
        ValueError: the folder holds a run of another recipe or with other arguments.
    """
    folder = as_path(folder)
    if not (folder / "run.json").exists():
        run = build_run(recipe, **arguments)
        run.folder = folder
        return run
    about = read_description(folder)
    if (about.recipe, about.arguments) != (recipe, json.loads(json.dumps(arguments))):  # tuples come back as lists
        raise ValueError(
            f"{folder} holds a run of {about.recipe} {about.arguments}, want {recipe} {arguments}; use another folder"
        )
    same_defaults = about.defaults == json.loads(json.dumps(_defaults(find_recipe(recipe), arguments)))
    given = code_names(recipe, arguments)
    is_known = same_defaults and set(code_names(recipe, about.resolved)) <= set(given)
    return load_run(folder, trusted=(ALL,) if is_known else modules(given))


def _build_described(folder: Path, about: Description, trusted: Collection[str]) -> Run:
    """Calls the recipe of a run.json with its arguments."""
    if about.recipe is None:
        raise ValueError(
            f"{folder} was built by hand, not by a recipe; give the function that builds it: "
            f'badger.load_run("{folder}", build=my_function)'
        )
    file = folder / "run.json"
    trusted = (trusted,) if isinstance(trusted, str) else tuple(trusted)
    with reading(file, trusted):
        try:
            check_trusted(_code_names(about), trusted, file)
            function = find_recipe(about.recipe)
            wanted = argument_types(function, {**about.defaults, **about.arguments, **about.resolved})
            for prefix, arguments in (
                ("defaults.", about.defaults), ("arguments.", about.arguments), ("resolved.", about.resolved)
            ):  # fmt: skip
                known = {name: wanted[name] for name in arguments if name in wanted}
                check_fields(arguments, _without_own_defaults(function, arguments, known), file, prefix=prefix)
            given = {**about.defaults, **about.arguments, **about.resolved}
            arguments = {**_defaults_before(function, about), **given}
            if about.extended_to is not None:
                length = {"outer_steps": about.extended_to, "total_steps": None}
                arguments |= {name: value for name, value in length.items() if name in wanted}
            return build_run(about.recipe, **arguments)
        except (BadgerError, EnvError, OSError, ImportError, *checkpoint.OUT_OF_MEMORY):
            raise
        except ValueError as error:
            raise ValueError(f"{file}: {error}") from error
        except Exception as error:  # of whatever kind: the arguments may have any value
            raise DamagedFile(
                f"{file}: recipe {about.recipe!r} cannot be built of these arguments, {type(error).__name__}: {error}",
                file=file,
                place="arguments",
            ) from error


def _defaults_before(function: Callable[..., Run], about: Description) -> dict[str, Any]:
    """The flags and options that run.json does not have, as they were before there were any: those of all recipes.

    A run that was made before a recipe got another default is not built with it.
    """
    if not about.defaults:
        return {}
    return {
        name: value
        for name, value in shared_defaults(function, about.defaults | about.arguments | about.resolved).items()
        if name not in about.defaults and name not in about.arguments
    }


def _without_own_defaults(
    function: Callable[..., Run], arguments: dict[str, Any], types: dict[str, Any]
) -> dict[str, Any]:
    """The types of arguments that differ from the recipe's defaults: a default may be None where the type is int."""
    parameters = inspect.signature(function).parameters
    own = {name: parameters[name].default for name in types if name in parameters}
    return {
        name: annotation
        for name, annotation in types.items()
        if name not in own or type(arguments[name]) is not type(own[name]) or arguments[name] != own[name]
    }


def _code_names(about: Description) -> list[str]:
    """The names of code in run.json that need trust: of the recipe, and anywhere in the arguments."""
    return code_names(about.recipe, about.arguments, about.defaults, about.resolved)


def _defaults(function: Callable[..., Run], arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments of a recipe that are not given and the options of its parts, as far as JSON can hold them."""
    known = {name: flag.default for name, flag in inspect.signature(function).parameters.items()}
    defaults = known | option_defaults(function, arguments)
    return {name: value for name, value in defaults.items() if name not in arguments and _plain(value)}


def _plain(value: Any) -> bool:
    """Whether JSON can hold the value."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
