"""The decorator that makes a recipe of `function(setup, *, own flags)`.

The recipe is a function whose keyword arguments are its own and those of `Setup`, in its signature and in its
docstring; the command line and run.json read both. A flag that names a part (`badger.recipes.parts`) brings the
options of the part with it, as `flag.option`.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Any, get_type_hints

from badger.recipes.parts import Part, PartKind, check_value
from badger.registry import suggestion
from badger.runs.run import Run


def recipe(
    part_defaults: Mapping[str, Mapping[str, Mapping[str, Any]]] | None = None, /, **defaults: Any
) -> Callable[[Callable[..., Run]], Callable[..., Run]]:
    """Decorator that makes a recipe of `function(setup, *, own flags)`.

    What comes before the star are groups of shared flags, each a dataclass: a `Setup`, and others as the function wants
    them. A field of a group whose default is a `Part` is a flag that names a part.

    Args:
        part_defaults: by flag and name of a part, options of this part alone: `{"learner": {"ppo": {"epochs": 8}}}`.
        defaults: values of shared flags where this recipe has others, and, as `**{"core.slots": 128}`, of options of
            parts; the latter hold for every part that has the option.

    Raises:
        TypeError: a default that names no flag and no option of any registered part, or a flag that is defined twice.
    """

    def decorate(function: Callable[..., Run]) -> Callable[..., Run]:
        return _Recipe(function, defaults, part_defaults or {}).as_function()

    return decorate


class _Recipe:
    def __init__(
        self,
        function: Callable[..., Run],
        defaults: Mapping[str, Any],
        part_defaults: Mapping[str, Mapping[str, Mapping[str, Any]]],
    ):
        self.part_defaults = part_defaults
        parameters, hints = inspect.signature(function).parameters.values(), get_type_hints(function)
        own = [p.replace(annotation=hints[p.name]) for p in parameters if p.kind is p.KEYWORD_ONLY]
        self.function = function
        self.groups = [hints[p.name] for p in parameters if p.kind is not p.KEYWORD_ONLY]
        shared = [flag for group in reversed(self.groups) for flag in _group_flags(group)]
        self.parts = {p.name: p.default.kind for p in shared if isinstance(p.default, Part)}
        self.option_defaults = {name: value for name, value in defaults.items() if "." in name}
        plain = {name: value for name, value in defaults.items() if "." not in name}
        _check_defaults(function, own, shared, self.parts, plain, self.option_defaults)
        self.shared_defaults = {p.name: p.default for p in shared if p.name not in self.parts}
        flags = [*own, *(_as_flag(p, plain.get(p.name, p.default)) for p in shared)]
        self.signature = inspect.Signature(flags, return_annotation=Run)

    def as_function(self) -> Callable[..., Run]:
        @functools.wraps(self.function)
        def run_recipe(**arguments: Any) -> Run:
            return self(**arguments)

        run_recipe.__signature__ = self.signature  # type: ignore[attr-defined]
        run_recipe.__annotations__ = {flag.name: flag.annotation for flag in self.signature.parameters.values()}
        run_recipe.__doc__ = self._docstring()
        run_recipe.parts = self.parts  # type: ignore[attr-defined]
        run_recipe.part = self.part  # type: ignore[attr-defined]
        run_recipe.part_defaults = self.part_defaults  # type: ignore[attr-defined]
        run_recipe.shared_defaults = self.shared_defaults  # type: ignore[attr-defined]
        run_recipe.option_defaults = self.option_defaults  # type: ignore[attr-defined]
        return run_recipe

    def __call__(self, **arguments: Any) -> Run:
        check_known(self.function.__name__, self.signature.parameters, self.parts, arguments)
        plain, options = split_options(arguments)
        bound = self.signature.bind(**plain)
        bound.apply_defaults()
        # JSON gives ranges back as lists
        known: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in bound.arguments.items()}
        for name, value in known.items():
            check_value(name, value, self.signature.parameters[name].annotation)
        known |= {flag: self.part(flag, known[flag], options.get(flag, {})) for flag in self.parts}
        shared = [group(**{f.name: known.pop(f.name) for f in dataclasses.fields(group)}) for group in self.groups]
        return self.function(*shared, **known)

    def part(self, flag: str, name: str, options: Mapping[str, Any]) -> Part:
        """The part that a flag names, with the options given and this recipe's defaults for the others."""
        _, defaults = split_options(self.option_defaults)
        own = self.part_defaults.get(flag, {}).get(name, {})
        return Part(self.parts[flag], name, options).check().with_defaults(own).with_defaults(defaults.get(flag, {}))

    def _docstring(self) -> str:
        doc = inspect.getdoc(self.function) or ""
        own = doc if "Args:" in doc else f"{doc}\n\nArgs:"  # of a recipe that has only shared flags
        return "\n".join([own, *map(_group_arguments, reversed(self.groups))])


def option_defaults(function: Callable[..., Run], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The recipe's defaults for options of the parts that the arguments name, as `{"core.slots": 128}`.

    Args:
        function: a recipe; one that is a plain function has none.
        arguments: keyword arguments of the recipe.
    """
    chosen, defaults = _named_parts(function, arguments), dict(getattr(function, "option_defaults", {}))
    for flag, by_name in getattr(function, "part_defaults", {}).items():
        defaults |= {f"{flag}.{option}": value for option, value in by_name.get(chosen[flag].name, {}).items()}
    named = {key: key.partition(".") for key in defaults}
    return {key: defaults[key] for key, (flag, _, option) in named.items() if option in chosen[flag].available}


def shared_defaults(function: Callable[..., Run], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Of the recipe's defaults those of flags and options that others have, too, with the value that all others have.

    Args:
        function: a recipe; one that is a plain function has none.
        arguments: keyword arguments of the recipe, which name parts.
    """
    shared: dict[str, Any] = dict(getattr(function, "shared_defaults", {}))
    chosen = _named_parts(function, {k: v for k, v in arguments.items() if isinstance(v, str)})
    for key in option_defaults(function, arguments):
        flag, _, option = key.partition(".")
        default = chosen[flag].available[option].default
        if default is not inspect.Parameter.empty:
            shared[key] = default
    return shared


def drop_unknown_options(function: Callable[..., Run], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments without options that the parts named among them do not have.

    So one set of options serves several parts: `{"core": "gru", "core.slots": 64}` gives `{"core": "gru"}`.

    Args:
        function: a recipe; the arguments of one that is a plain function come back as they are.
        arguments: keyword arguments of the recipe.
    """
    chosen = _named_parts(function, arguments)

    def known(name: str) -> bool:
        flag, dot, option = name.partition(".")
        return not dot or flag not in chosen or option in chosen[flag].available

    return {name: value for name, value in arguments.items() if known(name)}


def argument_types(function: Callable[..., Run], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The types of a recipe's arguments, and of the options of its parts as `core.slots`.

    Args:
        function: a recipe.
        arguments: of the recipe; they name the parts.

    Raises:
        ValueError: an unknown part.
    """
    if not hasattr(function, "parts"):
        return {}
    types = {name: flag.annotation for name, flag in inspect.signature(function).parameters.items()}
    for flag, part in _named_parts(function, {k: v for k, v in arguments.items() if isinstance(v, str)}).items():
        types |= {f"{flag}.{name}": option.annotation for name, option in part.available.items()}
    return types


def _named_parts(function: Callable[..., Run], arguments: Mapping[str, Any]) -> dict[str, Part]:
    """The parts that the arguments, or else the recipe's defaults, name; none of a plain function."""
    parts, flags = getattr(function, "parts", {}), inspect.signature(function).parameters
    return {flag: Part(kind, arguments.get(flag, flags[flag].default)) for flag, kind in parts.items()}


def split_options(arguments: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Arguments of a recipe, apart: plain ones, and options by the flag of their part.

    `{"core": "dnc", "core.slots": 8}` gives `{"core": "dnc"}` and `{"core": {"slots": 8}}`.
    """
    plain: dict[str, Any] = {}
    options: dict[str, dict[str, Any]] = {}
    for name, value in arguments.items():
        flag, dot, option = name.partition(".")
        if dot:
            options.setdefault(flag, {})[option] = value
        else:
            plain[name] = value
    return plain, options


def _check_defaults(
    function: Callable[..., Run],
    own: Iterable[inspect.Parameter],
    shared: list[inspect.Parameter],
    parts: Mapping[str, PartKind],
    plain: Mapping[str, Any],
    options: Mapping[str, Any],
) -> None:
    name, names = function.__name__, [p.name for p in shared]
    twice = {p.name for p in own} & set(names) | {flag for flag in names if names.count(flag) > 1}
    if twice:
        raise TypeError(f"recipe {name}: flag {min(twice)!r} is defined twice; rename the recipe's own")
    for flag in plain:
        if flag not in names:
            raise TypeError(_unknown(name, flag, names))
    for key in options:
        flag, _, option = key.partition(".")
        if flag not in parts:
            raise TypeError(_unknown(name, key, [f"{part}.OPTION" for part in parts]))
        known = _all_options(parts[flag])
        if option not in known:
            raise TypeError(_unknown(name, key, [f"{flag}.{one}" for one in known]))


def check_known(recipe: str, flags: Collection[str], parts: Collection[str], arguments: Iterable[str]) -> None:
    """Checks that a recipe has all arguments; options of parts are checked with their part.

    Args:
        recipe: its name, for the message.
        flags: its arguments.
        parts: those that name a part.
        arguments: names, as `core` and `core.slots`.

    Raises:
        ValueError: an argument that it does not have.
    """
    for name in arguments:
        flag, dot, _ = name.partition(".")
        if flag not in (parts if dot else flags):
            raise ValueError(_unknown(recipe, name, [f"{part}.OPTION" for part in parts] if dot else flags))


def _unknown(recipe: str, name: str, known: Iterable[str]) -> str:
    return f"recipe {recipe!r} has no argument {name!r}; {suggestion(name, known)}"


def _all_options(kind: PartKind) -> list[str]:
    """Every parameter that a recipe may set of any registered part of the kind."""
    names: dict[str, None] = {}
    for factory in kind.registry.values():
        names |= dict.fromkeys(list(inspect.signature(factory).parameters)[kind.positional :])
    return list(names)


def _group_flags(group: type) -> list[inspect.Parameter]:
    """The fields of a dataclass of shared flags, as parameters."""
    hints = get_type_hints(group)
    return [
        inspect.Parameter(f.name, inspect.Parameter.KEYWORD_ONLY, default=f.default, annotation=hints[f.name])
        for f in dataclasses.fields(group)
    ]


def _as_flag(parameter: inspect.Parameter, default: Any) -> inspect.Parameter:
    """A field that is a part is typed as its name."""
    if not isinstance(parameter.default, Part):
        return parameter.replace(default=default)
    return parameter.replace(default=default.name if isinstance(default, Part) else default, annotation=str)


def _group_arguments(group: type) -> str:
    """The lines of a dataclass's docstring that describe its flags."""
    return (inspect.getdoc(group) or "").partition("Args:\n")[2]
