"""Look-up of parts by name: registered ones, or a user's own as `module:name`.

A `module:name` that the caller typed is imported. One that was read from a file is imported only if the caller trusts
its module, since an import executes code.
"""

import difflib
import importlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from typing import Any, TypeVar

from badger.errors import UntrustedCode
from comms import get_by_name

T = TypeVar("T")


def resolve_name(table: Mapping[str, T], name: str, kind: str, fits: Callable[[Any], bool]) -> T:
    """The entry registered under a name, or an object of a user's module for `module:name`.

    Args:
        table: registered entries by name.
        name: a key of the table, or `module:name`.
        kind: of the entries, for errors: "recipe", "core".
        fits: whether an object of the module is of that kind.

    Raises:
        ValueError: there is no such entry or module, or no suitable object of that name in it.
    """
    if ":" not in name:
        return get_by_name(table, name, kind)
    module, _, attribute = name.partition(":")
    try:
        objects = {key: value for key, value in vars(importlib.import_module(module)).items() if fits(value)}
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


REFERENCE = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w./-]*")
"""Strings of the form module:name, and package:Env-v0 of Gymnasium."""


def references(value: Any) -> Iterator[str]:
    """All strings of the form `module:name` in a JSON value, including those in lists and in values of objects.

    Args:
        value: a JSON value.
    """
    if isinstance(value, str):
        if REFERENCE.fullmatch(value):
            yield value
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from references(item)
    elif isinstance(value, list | tuple):
        for item in value:
            yield from references(item)


def modules(names: Iterable[str]) -> tuple[str, ...]:
    """The modules of references, without duplicates.

    Args:
        names: references, each `module:name`.
    """
    return tuple(dict.fromkeys(name.partition(":")[0] for name in names))


def check_trusted(names: Collection[str], trusted: Collection[str], source: object) -> None:
    """Refuses references that were read from a file, except those into trusted modules.

    Args:
        names: references, each `module:name`.
        trusted: names of modules.
        source: the file, for the message.

    Raises:
        UntrustedCode: a reference is not trusted; the message says how to allow it.
    """
    untrusted = [name for name in names if name.partition(":")[0] not in trusted]
    if untrusted:
        allowed = (*trusted, *(module for module in modules(untrusted) if module not in trusted))
        raise UntrustedCode(
            f"{source} refers to foreign code, {', '.join(map(repr, untrusted))}; loading it would execute that code. "
            f"If you trust it, add --trust-code to the command, or trusted={allowed!r} to the call of badger.load_run",
            names=untrusted,
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
