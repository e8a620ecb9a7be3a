"""Look-up of parts by name: registered ones, or a user's own as `module:name` (see `badger.trust`)."""

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

from comms import get_by_name
from tasks.adapters.named_imports import import_named

T = TypeVar("T")


def resolve_name(table: Mapping[str, T], name: str, kind: str, fits: Callable[[Any], bool]) -> T:
    """The entry registered under a name, or an object of a user's module for `module:name`.

    Args:
        table: registered entries by name.
        name: a key of the table, or `module:name`.
        kind: of the entries, for errors: "recipe", "core".
        fits: whether an object of the module is of that kind.

    Raises:
        ValueError: there is no such entry or module, or no suitable object of that name in it; or a file has named it,
            and it is not trusted.
    """
    if ":" not in name:
        return get_by_name(table, name, kind)
    module, _, attribute = name.partition(":")
    try:
        objects = {key: value for key, value in vars(import_named(module, name)).items() if fits(value)}
    except ModuleNotFoundError as error:
        raise ValueError(f"{kind} {name!r}: {error}; run badger where `import {module}` works") from error
    if attribute in objects:
        return objects[attribute]
    raise ValueError(f"{kind} {name!r}: module {module} has no {kind} {attribute}; {suggestion(attribute, objects)}")


def suggestion(name: str, known: Iterable[str]) -> str:
    """The end of an error about an unknown name: the most similar known one, or all of them.

    Args:
        name: that was given.
        known: names that would be right.
    """
    names = list(known)
    similar = difflib.get_close_matches(name, names, 1)
    return f"did you mean {similar[0]!r}?" if similar else f"it has {', '.join(names) or 'none'}"


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
