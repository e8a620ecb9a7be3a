"""Parts that a flag names: registered ones or `module:name`, each with options of its own, read off its signature.

`--core episodic --core.slots 32` on the command line, `build_run("t_maze", core="episodic", **{"core.slots": 32})` in
Python and `{"core": "episodic", "core.slots": 32}` in run.json are the same. What the agent passes to a factory by
itself (sizes, the learning rate ...) is no option; every other parameter with a plain annotation is one.

Open this file to add a kind of part; to add a part, add a line to the registry of its kind.
"""

import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any, Literal, Union, get_type_hints

import torch
import typeguard

from badger.act import ACTS, Act
from badger.learners import LEARNERS, Learner
from badger.registry import resolve_name, suggestion
from badger.runs.json_files import type_name
from badger.sense import SENSES, Sense
from comms import BUSES, TOPOLOGIES, Bus
from experts import CORES, Core

LARGEST = torch.finfo(torch.float32).max
PLAIN = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class PartKind:
    """A kind of part that a flag may name.

    Args:
        flag: the flag's name, also the prefix of its options.
        registry: the parts by name, each a factory.
        positional: how many of a factory's first parameters are passed by the agent.
        supplied: parameters that are passed by name where a factory has them.
        defaults: values of options for which a factory has no default.
        base: class or protocol of the parts.
    """

    flag: str
    registry: Mapping[str, Callable[..., Any]]
    positional: int
    supplied: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    base: type = object

    def __call__(self, name: str, **options: Any) -> "Part":
        """The part of that name, with options for its factory."""
        return Part(self, name, options)


@dataclass(frozen=True)
class Part:
    """A part by name, and the options given to its factory; `build` makes the part.

    Args:
        kind: which registry the name is looked up in.
        name: a registered name, or `module:name`.
        options: keyword arguments of the factory, checked when the part is first used.

    Raises:
        ValueError: an unknown name, an option that the factory does not have, or a value of another type.
    """

    kind: PartKind
    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def factory(self) -> Callable[..., Any]:
        """The registered or imported factory."""
        return resolve_name(self.kind.registry, self.name, self.kind.flag, callable)

    @cached_property
    def available(self) -> dict[str, inspect.Parameter]:
        """The options of the factory: its parameters with plain annotations, less those that the agent passes."""
        return factory_options(self.factory, self.kind)

    def with_defaults(self, defaults: Mapping[str, Any]) -> "Part":
        """The part with these options where the factory has such parameters and none is given."""
        known = {name: value for name, value in defaults.items() if self.accepts(name)}
        return Part(self.kind, self.name, known | dict(self.options))

    def check(self) -> "Part":
        """The part with its options checked and lists, as JSON has them, turned into tuples.

        Raises:
            ValueError: an option that the factory does not have, or a value of another type.
        """
        return Part(self.kind, self.name, {name: self._checked(name, value) for name, value in self.options.items()})

    def _checked(self, name: str, value: Any) -> Any:
        flag = f"{self.kind.flag}.{name}"
        if name not in self.available:
            hint = suggestion(flag, [f"{self.kind.flag}.{option}" for option in self.available])
            raise ValueError(f"{flag}={value!r}: {self.kind.flag} {self.name!r} has no option {name!r}; {hint}")
        value = tuple(value) if isinstance(value, list) else value
        check_value(flag, value, self.available[name].annotation)
        return value

    def accepts(self, name: str) -> bool:
        """Whether the factory has a parameter of that name."""
        return name in inspect.signature(self.factory).parameters

    def option(self, name: str) -> Any:
        """The value of an option, given or the factory's default; None where it has no such option."""
        known = self.available.get(name)
        return None if known is None else self.options.get(name, known.default)

    def build(self, *args: Any, **supplied: Any) -> Any:
        """The part itself. supplied: passed where the factory has a parameter of that name."""
        known = {name: value for name, value in supplied.items() if self.accepts(name) and name not in self.options}
        for name, parameter in self.available.items():
            if parameter.default is parameter.empty and name not in self.options:
                raise ValueError(f"{self.kind.flag} {self.name!r} needs a value for {self.kind.flag}.{name}")
            if name in self.kind.defaults:
                known.setdefault(name, parameter.default)
        part = self.factory(*args, **{**known, **self.options})
        if not isinstance(part, self.kind.base):
            raise ValueError(
                f"{self.kind.flag} {self.name!r} makes a {type(part).__name__}, want a {self.kind.base.__name__}"
            )
        return part

    def bound(self) -> str | Callable[..., Any]:
        """The name of a part without options, else its factory with the options bound: for a socket that takes both."""
        return partial(self.factory, **self.options) if self.options or ":" in self.name else self.name


def factory_options(factory: Callable[..., Any], kind: PartKind) -> dict[str, inspect.Parameter]:
    """The parameters of a factory that are options of a part of this kind, with evaluated annotations."""
    parameters = list(inspect.signature(factory).parameters.values())[kind.positional :]
    hints = _type_hints(factory)
    return {
        p.name: p.replace(annotation=hints[p.name], default=_default(p, kind))
        for p in parameters
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY)
        and p.name not in kind.supplied
        and is_plain(hints.get(p.name, Any))
    }


def _default(parameter: inspect.Parameter, kind: PartKind) -> Any:
    if parameter.default is parameter.empty:
        return kind.defaults.get(parameter.name, parameter.empty)
    return parameter.default


def is_plain(annotation: Any) -> bool:
    """Whether JSON and the command line can hold every value of this type."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin in (Union, types.UnionType):
        return all(map(is_plain, args))
    if origin is Literal:
        return True
    if origin is tuple:
        return all(arg is Ellipsis or is_plain(arg) for arg in args)
    if origin is dict:
        return args[0] is str and is_plain(args[1])
    return annotation in PLAIN


def check_value(name: str, value: Any, kind: Any) -> None:
    """Checks the type of an argument of a recipe, or of an option of a part, and its numbers.

    Args:
        name: of the argument, for the message.
        value: of it.
        kind: its type.

    Raises:
        ValueError: a value of another type, or a number that no option can use.
    """
    try:
        typeguard.check_type(value, kind)
    except typeguard.TypeCheckError as error:
        raise ValueError(f"{name}={value!r}, want {type_name(kind)}") from error
    check_number(name, value)


def check_number(name: str, value: Any) -> None:
    """Refuses numbers that no option can use: integers beyond 64 bits, floats that float32 cannot hold.

    Args:
        name: of the option, for the message.
        value: of the option; of a tuple or dict each number is checked.

    Raises:
        ValueError: such a number.
    """
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple | list) else [value]
    for part in parts:
        if isinstance(part, float) and not math.isfinite(part):
            raise ValueError(f"{name}={part}, want a finite number")
        if isinstance(part, float) and abs(part) > LARGEST:
            raise ValueError(f"{name}={part}, want a number of float32, at most {LARGEST:.3g}")
        if isinstance(part, int) and not -(2**63) <= part < 2**63:
            raise ValueError(f"{name}={part}, want a number of at most 64 bits")


def _type_hints(factory: Callable[..., Any]) -> dict[str, Any]:
    if isinstance(factory, partial):
        return _type_hints(factory.func)
    if hasattr(factory, "__signature__"):
        return {name: p.annotation for name, p in inspect.signature(factory).parameters.items()}
    return get_type_hints(factory.__init__ if isinstance(factory, type) else factory)  # type: ignore[misc]


TRAINING_FLAGS = ("experts", "batch", "grad_checkpoint_steps", "precision", "compile", "cuda_graph", "shard_experts")
"""Flags of every recipe that a learner is given where it has them."""

CORE = PartKind(
    "core",
    CORES,
    1,
    frozenset({"experts", "target_size", "model", "layout"}),
    {"hidden_size": 64},
    Core,
)
BUS = PartKind("bus", BUSES, 2, base=Bus)
TOPOLOGY = PartKind("topology", TOPOLOGIES, 1)
SENSE = PartKind("sense", SENSES, 1, frozenset({"obs_parts", "agents"}), base=Sense)
ACT = PartKind("act", ACTS, 2, frozenset({"agents"}), base=Act)
LEARNER = PartKind(
    "learner", LEARNERS, 2, frozenset({*TRAINING_FLAGS, "auxiliary", "data", "lr", "rank", "seed"}), base=Learner
)
