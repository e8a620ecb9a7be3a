"""Imports of modules that a string names, and which of them are allowed while something is built from a file.

An import executes code. A name that the user has typed may be imported. While a file is read, inside `only_trusted`,
a name is imported if the user trusts its module; the name of an environment also if its package is in `ENV_LIBRARIES`.

This module also runs in worker processes; it does not import torch.
"""

import importlib
import importlib.util
import sys
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

ENV_LIBRARIES = frozenset(
    {
        "ale_py", "crafter", "gymnasium", "gymnasium_robotics", "highway_env", "lbforaging", "magent2", "memory_gym",
        "metaworld", "minatar", "minigrid", "miniworld", "mo_gymnasium", "mpe2", "pettingzoo", "popgym", "procgen",
        "rware", "shimmy",
    }
)  # fmt: skip
"""Packages whose environments may be named in a file without being trusted by the user."""

ALL = "*"
"""As a trusted module: every module is trusted."""

ENV_FUNCTIONS = ("parallel_env", "env", "raw_env")
"""The functions of a module of PettingZoo that return an environment."""


class _Scope(NamedTuple):
    trusted: tuple[str, ...]
    refusal: Callable[[str], Exception]


_scope: ContextVar[_Scope | None] = ContextVar("scope", default=None)
_user_folder: ContextVar[str | None] = ContextVar("user_folder", default=None)


@contextmanager
def only_trusted(trusted: Collection[str], refusal: Callable[[str], Exception]) -> Iterator[None]:
    """Context in which names come from a file, and only some modules are imported.

    Args:
        trusted: modules, each with its sub-modules; or `ALL`.
        refusal: the error for a name whose module is not trusted.
    """
    token = _scope.set(_Scope(tuple(trusted), refusal))
    try:
        yield
    finally:
        _scope.reset(token)


@contextmanager
def user_folder(folder: str) -> Iterator[None]:
    """Context in which typed and trusted modules are also found in a folder, after all other places.

    Args:
        folder: appended to `sys.path` when a module is first found nowhere else.
    """
    token = _user_folder.set(folder)
    try:
        yield
    finally:
        _user_folder.reset(token)


def is_trusted(module: str, trusted: Collection[str]) -> bool:
    """Whether a module or one of its parents is trusted.

    Args:
        module: dotted name.
        trusted: modules, or `ALL`.
    """
    return ALL in trusted or any(f"{module}.".startswith(f"{parent}.") for parent in trusted)


def is_env_library(module: str) -> bool:
    """Whether a module belongs to a package of `ENV_LIBRARIES`.

    Args:
        module: dotted name.
    """
    return module.partition(".")[0] in ENV_LIBRARIES


def import_named(module: str, name: str, *, is_env: bool = False) -> Any:
    """Imports a module that a name refers to.

    Args:
        module: dotted name of the module.
        name: the whole name, `module:function`, for the error.
        is_env: it names an environment, so that `ENV_LIBRARIES` are allowed.

    Raises:
        ModuleNotFoundError: there is no such module.
        Exception: the refusal of `only_trusted`.
    """
    if not all(module.split(".")):
        raise ModuleNotFoundError(f"No module named {module!r}", name=module)
    chosen = _is_chosen(module)
    if not chosen and not (is_env and is_env_library(module)):
        raise _refusal(name)
    if chosen:
        _search_user_folder(module.partition(".")[0])
    return importlib.import_module(module)


def env_maker(module: Any, names: Collection[str], env: str) -> Callable[..., Any] | None:
    """The first callable of these names in a module; None if there is none.

    If a file has named it and its library is allowed but not trusted, it must be an environment class of the library or
    one of `ENV_FUNCTIONS`: a library also has functions that execute what their arguments say.

    Args:
        module: from `import_named`.
        names: of functions or classes.
        env: the whole name, for the error.

    Raises:
        Exception: the refusal of `only_trusted`.
    """
    for name in names:
        maker = getattr(module, name, None)
        if callable(maker):
            if not _is_chosen(env.partition(":")[0]) and not _is_library_env(maker, name):
                raise _refusal(env)
            return maker
    return None


def _is_chosen(module: str) -> bool:
    """Whether the user has typed the name, or trusts the module."""
    scope = _scope.get()
    return scope is None or is_trusted(module, scope.trusted)


def _refusal(name: str) -> Exception:
    scope = _scope.get()
    assert scope is not None  # otherwise every name is chosen
    return scope.refusal(name)


def _is_library_env(maker: Any, name: str) -> bool:
    is_class = isinstance(maker, type) and hasattr(maker, "reset") and hasattr(maker, "step")
    return is_env_library(str(getattr(maker, "__module__", ""))) and (is_class or name in ENV_FUNCTIONS)


def _search_user_folder(package: str) -> None:
    """Appends the user's folder to the path if the package is not found without it."""
    folder = _user_folder.get()
    if folder is None or folder in sys.path or package in sys.modules:
        return
    if importlib.util.find_spec(package) is None:
        sys.path.append(folder)
