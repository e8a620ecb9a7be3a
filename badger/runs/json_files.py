"""JSON files of a run, read with a check of their fields: a wrong type is an error that names the file and the field.

The types are annotations, as far as JSON has such values: `str`, `int`, `float` (also an int), `bool`, `None`, `Any`,
unions, literals, `list[...]`, `tuple[...]` (a JSON list), `dict[str, ...]` and typed dicts, which may have more keys.
Unlike in Python, a bool is no int.
"""

import copy
import json
import reprlib
import sys
import types
import typing
import unicodedata
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, NamedTuple, Union

from badger.errors import DamagedFile

MAX_DEPTH = 50
"""Levels of lists and objects in a file: other functions on JSON values are recursive, too."""
REQUIRED: Any = ...
"""The default of a field that a file must have."""


def read_json(file: Path, fields: Mapping[str, tuple[Any, Any]], advice: str = "") -> dict[str, Any]:
    """The fields of a JSON object in a file, each of its type.

    Args:
        file: the file.
        fields: by name, type and default; other fields of the file are ignored.
        advice: what to do if the file is damaged.

    Raises:
        DamagedFile: no JSON object, or a field is missing or has another type, or a text has control characters, which
            a terminal would obey.
        OSError: the file cannot be read.
    """
    try:
        content = json.loads(file.read_bytes().decode())
    except (ValueError, RecursionError) as error:
        raise _damaged(file, str(error), advice) from error
    if _is_deeper(content, MAX_DEPTH):
        raise _damaged(file, f"it is nested more than {MAX_DEPTH} levels deep", advice)
    if (text := find_control_characters(content)) is not None:
        raise _damaged(file, f"it has control characters: {text!r}", advice)
    if not isinstance(content, dict):
        raise _damaged(file, f"it has {reprlib.repr(content)}, want an object with {', '.join(fields)}", advice)
    values = {name: content.get(name, copy.copy(default)) for name, (_, default) in fields.items()}
    check_fields(values, {name: wanted for name, (wanted, _) in fields.items()}, file, advice=advice)
    return values


def check_fields(
    values: Mapping[str, Any], wanted: Mapping[str, Any], file: Path, *, prefix: str = "", advice: str = ""
) -> None:
    """Checks the types of values that were read from a file.

    Args:
        values: by name; `REQUIRED` for one that is missing.
        wanted: types by name.
        file: the file.
        prefix: of the names in messages.
        advice: what to do if the file is damaged.

    Raises:
        DamagedFile: a value is missing or has another type.
    """
    for name, annotation in wanted.items():
        found = mismatch(values[name], annotation, prefix + name)
        if found is not None:
            raise _damaged(file, describe(found), advice, found.place)


class Mismatch(NamedTuple):
    """A part of a value that has the wrong type.

    Args:
        place: `field`, `field.key` or `field.0`.
        value: that is there; `REQUIRED` if there is none.
        wanted: the type.
    """

    place: str
    value: Any
    wanted: Any


def describe(found: Mismatch) -> str:
    """What is wrong, in words.

    Args:
        found: from `mismatch`.
    """
    if found.value is REQUIRED:
        return f"it has no field {found.place}"
    return f"{found.place} is {reprlib.repr(found.value)}, want {type_name(found.wanted)}"


def mismatch(value: Any, annotation: Any, place: str) -> Mismatch | None:
    """The first part of a value that has the wrong type; None if it fits.

    Args:
        value: from JSON.
        annotation: the type.
        place: name of the value; parts of it are `place.key` and `place.0`.
    """
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if value is not REQUIRED and annotation is Any:
        return None
    if origin in (Union, types.UnionType):
        found = [mismatch(value, one, place) for one in args]
        if None in found:
            return None
        inside = [one for one in found if one and one.place != place]
        return inside[0] if len(inside) == 1 else Mismatch(place, value, annotation)
    if origin is Literal:
        fits = any(value == one and type(value) is type(one) for one in args)
    elif origin in (list, tuple, dict) or typing.is_typeddict(annotation):
        return _mismatch_inside(value, annotation, place)
    elif annotation is float:
        fits = type(value) is float or (type(value) is int and abs(value) <= sys.float_info.max)
    else:
        fits = value is None if annotation in (None, type(None)) else type(value) is annotation
    return None if fits else Mismatch(place, value, annotation)


def _mismatch_inside(value: Any, annotation: Any, place: str) -> Mismatch | None:
    is_sequence = typing.get_origin(annotation) in (list, tuple)
    if not isinstance(value, (list | tuple) if is_sequence else dict):
        return Mismatch(place, value, annotation)
    parts = _items(value, annotation) if is_sequence else _entries(value, annotation)
    if parts is None:
        return Mismatch(place, value, annotation)
    return next(filter(None, (mismatch(item, one, f"{place}.{key}") for key, item, one in parts)), None)


def _items(values: Any, annotation: Any) -> list[tuple[str, Any, Any]] | None:
    """Index, value and type of the items of a list; None if their number is wrong."""
    args = typing.get_args(annotation)
    fixed = typing.get_origin(annotation) is tuple and args[-1] is not Ellipsis
    inner = args if fixed else args[:1] * len(values)
    if len(values) != len(inner):
        return None
    return [(str(i), item, one) for i, (item, one) in enumerate(zip(values, inner, strict=True))]


def _entries(values: Any, annotation: Any) -> list[tuple[str, Any, Any]] | None:
    """Key, value and type of the entries of a dict; None if a key is no string."""
    if not all(isinstance(key, str) for key in values):
        return None
    if typing.get_origin(annotation) is dict:
        return [(key, item, typing.get_args(annotation)[1]) for key, item in values.items()]
    missing, hints = dict.fromkeys(annotation.__required_keys__, REQUIRED), typing.get_type_hints(annotation)
    return [(key, item, hints[key]) for key, item in {**missing, **values}.items() if key in hints]


def type_name(annotation: Any) -> str:
    """A type as an error message shows it: `int | None`, `'local' or 'gradient'`.

    Args:
        annotation: the type.
    """
    if typing.get_origin(annotation) is Literal:
        return " or ".join(map(repr, typing.get_args(annotation)))
    if typing.is_typeddict(annotation):
        return f"an object with {', '.join(annotation.__annotations__)}"
    return annotation.__name__ if type(annotation) is type else str(annotation).replace("typing.", "")


def _is_deeper(value: Any, levels: int) -> bool:
    """Whether lists and objects are nested in more levels than these."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return bool(inner) and (levels == 0 or any(_is_deeper(item, levels - 1) for item in inner))


def find_control_characters(value: Any) -> str | None:
    """The first text in a JSON value that would move the cursor, clear the screen or ring where it is printed.

    Args:
        value: from JSON, nested at most `MAX_DEPTH` levels deep.
    """
    if isinstance(value, str):
        return value if any(unicodedata.category(char) == "Cc" and char not in "\t\n\r" for char in value) else None
    inner = [*value, *value.values()] if isinstance(value, dict) else value if isinstance(value, list) else []
    return next((text for text in map(find_control_characters, inner) if text is not None), None)


def _damaged(file: Path, problem: str, advice: str, place: str | None = None) -> DamagedFile:
    return DamagedFile(f"{file} is damaged: {problem}" + (f"; {advice}" if advice else ""), file=file, place=place)
