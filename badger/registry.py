"""What is found by name: one of ours, or a user's own as `module:name`.

A `module:name` that the caller typed is imported; one that was read from a file only where the caller trusts its
module, for to import a module is to execute it.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from comms import get_by_name

T = TypeVar("T")


def resolve_name(table: Mapping[str, T], name: str, kind: str, fits: Callable[[Any], bool]) -> T:
    """The entry of that name, or what a user's own module calls so. kind: says in errors what was looked for; fits:
    whether an object is one.

    Raises:
        ValueError: there is no such entry or module, or nothing fitting of that name in it.
    """
    if ":" not in name:
        return get_by_name(table, name, kind)
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


REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w./-]*")  # module:function, and package:Env-v0 of Gymnasium


def references(value: Any) -> Iterator[str]:
    """All strings of the form `module:name` in a JSON value, those in lists and in values of objects included."""
    if isinstance(value, str):
        if REFERENCE.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for each in value.values():
            yield from references(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from references(each)


def modules(found: Iterable[str]) -> tuple[str, ...]:
    """The modules of such references, each once."""
    return tuple(dict.fromkeys(reference.partition(":")[0] for reference in found))


def check_trusted(found: Collection[str], trusted: Collection[str], source: object) -> None:
    """Refuses references that were read from a file, but for those into trusted modules.

    Args:
        found: references, each `module:name`.
        trusted: names of modules.
        source: the file, for the message.

    Raises:
        ValueError: one of them is not trusted; says how to allow it.
    """
    unknown = [reference for reference in found if reference.partition(":")[0] not in trusted]
    if unknown:
        allowed = (*trusted, *(module for module in modules(unknown) if module not in trusted))
        raise ValueError(
            f"{source} names code of others, {', '.join(map(repr, unknown))}, which to load it would execute; if you "
            f"trust it, add --trust-code to the command, or trusted={allowed!r} to the call of badger.load_run"
        )


def register(kind: str, entries: Iterable[tuple[str, T]]) -> dict[str, T]:
    """A registry of entries by name, in the order given.

    Args:
        kind: of the entries, for the message.
        entries: names and entries.

    Raises:
        ValueError: a name that is taken.
    """
    registry: dict[str, T] = {}
    for name, entry in entries:
        if name in registry:
            raise ValueError(f"two {kind} are named {name!r}; rename one of them")
        registry[name] = entry
    return registry
