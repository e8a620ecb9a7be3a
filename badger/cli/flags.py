"""Flags of `badger train RECIPE`: the recipe's arguments, the options of the parts it names, and the folder."""

import copy
import dataclasses
import inspect
import re
import typing
from collections.abc import Callable, Iterator
from functools import partial
from typing import Annotated, Any

import docstring_parser
import tyro

from badger.recipes.parts import Part
from badger.runs.run import Run

Field = tuple[str, Any, Any]  # name, type, dataclasses.field
SEPARATOR = "__"  # in a field's name, of a part and its option: core__slots is the flag --core.slots


def parse_flags(recipe: Callable[..., Run], words: list[str], *, prog: str) -> dict[str, Any]:
    """The values of the flags, by the names that `badger.build_run` takes, with `folder` and `tensorboard`.

    Every flag of the recipe has a value; of the options of parts only those that were typed, so that the recipe's own
    defaults hold for the others.

    Args:
        recipe: the recipe whose signature gives the flags.
        words: the command line after the recipe's name.
        prog: the command, for the help text.

    Raises:
        ValueError: a part that is not registered.
        SystemExit: help was asked for, or a value does not fit its flag.
    """
    fields = [*_plain_fields(recipe), *_option_fields(recipe, words), *_plain_fields(_run_flags)]
    flags = dataclasses.make_dataclass("Flags", fields, namespace={"__doc__": _docstring(recipe)}, kw_only=True)
    values = dict(vars(tyro.cli(flags, args=words, prog=prog)))
    typed = {_option_name(word) for word in words if word.startswith("--")}
    options = {name: name.replace(SEPARATOR, ".") for name in values if SEPARATOR in name}
    plain = {name: value for name, value in values.items() if name not in options}
    return plain | {dotted: values[name] for name, dotted in options.items() if dotted in typed}


def name_flags(message: str, words: list[str]) -> str:
    """An error message that names flags as they were typed: `outer_steps=0, want` becomes `--outer-steps 0, want`.

    Args:
        message: of the error; a name that was not typed stays as it is.
        words: the command line.
    """
    typed = [_option_name(word) for word in words if word.startswith("--")]
    flags = {name.rpartition(".")[2]: name for name in typed} | {name: name for name in typed}
    if not flags:
        return message
    longest = sorted(flags, key=len, reverse=True)
    name = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, longest))})=(?=\S)")
    return name.sub(lambda found: f"--{flags[found[1]].replace('_', '-')} ", message)


def _run_flags(*, folder: str | None = None, tensorboard: bool = True) -> None: ...


def _plain_fields(function: Callable[..., Any]) -> Iterator[Field]:
    hints = typing.get_type_hints(function)
    for name, parameter in inspect.signature(function).parameters.items():
        yield name, hints.get(name, Any), _field(parameter.default)


def _option_fields(recipe: Callable[..., Run], words: list[str]) -> Iterator[Field]:
    """The options of the parts that the command line, or else the recipe, names."""
    for flag in getattr(recipe, "parts", {}):
        default = inspect.signature(recipe).parameters[flag].default
        part: Part = recipe.part(flag, _last_value(words, flag) or default, {})  # type: ignore[attr-defined]
        described = docstring_parser.parse(inspect.getdoc(part.factory) or "").params
        texts = {param.arg_name: " ".join((param.description or "").split()) for param in described}
        for name, parameter in part.available.items():
            kind: Any = Annotated[parameter.annotation, tyro.conf.arg(name=f"{flag}.{name}", help=texts.get(name))]
            yield f"{flag}{SEPARATOR}{name}", kind, _field(part.options.get(name, parameter.default))


def _field(default: Any) -> Any:
    if default is inspect.Parameter.empty:
        return dataclasses.field()
    return dataclasses.field(default_factory=partial(copy.copy, default))


def _last_value(words: list[str], flag: str) -> str | None:
    """The last value typed for a flag, as `--flag value` or `--flag=value`."""
    found = None
    for word, following in zip(words, [*words[1:], ""], strict=True):
        if word == f"--{flag}":
            found = following
        elif word.startswith(f"--{flag}="):
            found = word.partition("=")[2]
    return found


def _option_name(word: str) -> str:
    """`--core.top-k=3` and `--core.no-gate` name the options `core.top_k` and `core.gate`."""
    name = word.removeprefix("--").partition("=")[0].replace("-", "_")
    flag, dot, option = name.partition(".")
    return f"{flag}{dot}{option.removeprefix('no_')}"


def _docstring(recipe: Callable[..., Run]) -> str:
    text = (inspect.getdoc(recipe) or recipe.__name__).rstrip()
    return (text if "Args:" in text else f"{text}\n\nArgs:") + (
        "\n    folder: run folder; default: runs/RECIPE-DATE-TIME-PROCESS."
        "\n    tensorboard: write events for TensorBoard."
    )
