"""Flags of `badger train RECIPE`: the recipe's arguments, the options of the parts it names, and the folder."""

import copy
import dataclasses
import inspect
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import docstring_parser
import tyro

from badger.cli.typed import typed_flags
from badger.cli.usage import SEPARATOR, parse
from badger.recipes.parts import Part
from badger.runs.run import Run

Field = tuple[str, Any, Any]  # name, type, dataclasses.field


def parse_flags(recipe: Callable[..., Run], words: list[str], *, prog: str) -> dict[str, Any]:
    """The values of the flags, by the names that `badger.build_run` takes, with `folder` and `tensorboard`.

    Every flag of the recipe has a value; of the options of parts only those that were typed, so that the recipe's own
    defaults hold for the others.

    Args:
        recipe: the recipe whose signature gives the flags.
        words: the command line after the recipe's name.
        prog: the command, for the help text.

    Raises:
        ValueError: a part that is not registered, an unknown flag, or a value that does not fit its flag.
        SystemExit: help was asked for.
    """
    fields = [*_plain_fields(recipe), *_option_fields(recipe, words), *_plain_fields(_run_flags)]
    flags = dataclasses.make_dataclass("Flags", fields, namespace={"__doc__": _docstring(recipe)}, kw_only=True)
    values = dict(vars(parse(flags, words, prog=prog)))
    typed = {flag.name for flag in typed_flags(words)}
    options = {name: name.replace(SEPARATOR, ".") for name in values if SEPARATOR in name}
    plain = {name: value for name, value in values.items() if name not in options}
    return plain | {dotted: values[name] for name, dotted in options.items() if dotted in typed}


def _run_flags(*, folder: str | None = None, tensorboard: bool = True) -> None: ...


def _plain_fields(function: Callable[..., Any]) -> Iterator[Field]:
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        yield name, hints.get(name, Any), _field(parameter.default)


def _option_fields(recipe: Callable[..., Run], words: list[str]) -> Iterator[Field]:
    """The options of the parts that the command line, or else the recipe, names."""
    for flag in getattr(recipe, "parts", {}):
        default = inspect.signature(recipe).parameters[flag].default
        named = [typed.values[0] for typed in typed_flags(words) if typed.name == flag and typed.values]
        part: Part = recipe.part(flag, [default, *named][-1], {})  # type: ignore[attr-defined]
        described = docstring_parser.parse(inspect.getdoc(part.factory) or "").params
        texts = {param.arg_name: " ".join((param.description or "").split()) for param in described}
        for name, parameter in part.available.items():
            kind: Any = Annotated[parameter.annotation, tyro.conf.arg(name=f"{flag}.{name}", help=texts.get(name))]
            yield f"{flag}{SEPARATOR}{name}", kind, _field(part.options.get(name, parameter.default))


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=partial(copy.copy, default))


def _docstring(recipe: Callable[..., Run]) -> str:
    text = (inspect.getdoc(recipe) or recipe.__name__).rstrip()
    return (text if "Args:" in text else f"{text}\n\nArgs:") + (
        "\n    folder: run folder; default: runs/RECIPE-DATE-TIME-PROCESS."
        "\n    tensorboard: write events for TensorBoard."
    )
