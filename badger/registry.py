"""What is found by name: one of ours, or a user's own as `module:name`."""

import difflib
import importlib
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from comms import pick

Named = TypeVar("Named")


def named(table: Mapping[str, Named], name: str, kind: str, fits: Callable[[Any], bool]) -> Named:
    """The entry of that name, or what a user's own module calls so. kind: says in errors what was looked for; fits:
    whether an object is one.

    Raises:
        ValueError: there is no such entry or module, or nothing fitting of that name in it.
    """
    if ":" not in name:
        return pick(table, name, kind)
    module, _, own = name.partition(":")
    try:
        there = {key: value for key, value in vars(importlib.import_module(module)).items() if fits(value)}
    except ModuleNotFoundError as error:
        raise ValueError(f"{kind} {name!r}: {error}; run badger where `import {module}` works") from error
    if own in there:
        return there[own]
    near = difflib.get_close_matches(own, there, 1)
    hint = f"did you mean {near[0]!r}?" if near else f"it has {', '.join(there) or 'none'}"
    raise ValueError(f"{kind} {name!r}: module {module} has no {kind} {own}; {hint}")
