"""The decorator that makes a recipe of `function(setup, *, own flags)`.

The recipe is a function whose keyword arguments are its own and those of `Setup`, in its signature and in its
docstring; the command line and run.json read both.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from badger.runs.run import Run


def recipe(**defaults: Any) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """Makes a recipe of `function(setup, *, own flags)`. defaults: of shared flags, where this recipe has others.

    What comes before the star are groups of shared flags, each a dataclass: a `Setup`, and others
    (`badger.recipes.memories.MemoryFlags`) as the function wants them.
    """

    def flat(function: Callable[..., Run]) -> Callable[..., Run]:
        parameters, hints = inspect.signature(function).parameters.values(), get_type_hints(function)
        own = [p.replace(annotation=hints[p.name]) for p in parameters if p.kind is p.KEYWORD_ONLY]
        groups = [hints[p.name] for p in parameters if p.kind is not p.KEYWORD_ONLY]
        flags = [*own, *(flag for group in reversed(groups) for flag in _flags(group, defaults))]
        signature = inspect.Signature(flags, return_annotation=Run)

        @functools.wraps(function)
        def made(**arguments: Any) -> Run:
            given = signature.bind(**arguments)
            given.apply_defaults()
            # JSON gives ranges back as lists
            known = {name: tuple(v) if isinstance(v, list) else v for name, v in given.arguments.items()}
            shared = [group(**{f.name: known.pop(f.name) for f in dataclasses.fields(group)}) for group in groups]
            return function(*shared, **known)

        made.__signature__ = signature  # type: ignore[attr-defined]
        made.__annotations__ = {flag.name: flag.annotation for flag in flags}
        doc = inspect.getdoc(function) or ""
        own_doc = doc if "Args:" in doc else f"{doc}\n\nArgs:"  # of a recipe that has only shared flags
        made.__doc__ = "\n".join([own_doc, *map(_arguments, reversed(groups))])
        return made

    return flat


def _flags(group: type, defaults: dict[str, Any]) -> list[inspect.Parameter]:
    """Of a dataclass of shared flags."""
    hints = get_type_hints(group)
    return [
        inspect.Parameter(
            f.name, inspect.Parameter.KEYWORD_ONLY, default=defaults.get(f.name, f.default), annotation=hints[f.name]
        )
        for f in dataclasses.fields(group)
    ]


def _arguments(group: type) -> str:
    """What its docstring tells of its flags."""
    return (inspect.getdoc(group) or "").partition("Args:\n")[2]
