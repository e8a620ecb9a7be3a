"""Libraries that a task needs and that most tasks do without, imported when they are first asked for."""

import importlib
from typing import Any


def import_env_module(module: str, env: str) -> Any:
    """The module, of which the environment of that name is to come.

    Raises:
        ValueError: it, or what it imports, is not there; says how to install it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        package = module.partition(".")[0]
        missing = error.name or package
        advice = f"pip install {package}" if missing == package else f"it needs {missing}: pip install {missing}"
        raise ValueError(f"env={env!r}: {error}; {advice}, or run badger where `import {module}` works") from error


def require_gymnasium() -> Any:
    """The module gymnasium. Raises ModuleNotFoundError where it is not installed; says how to install it."""
    try:
        import gymnasium as module
    except ModuleNotFoundError as error:
        raise _missing(error, "gymnasium>=1.1") from error
    return module


def require_pettingzoo() -> Any:
    """The module pettingzoo. Raises ModuleNotFoundError where it is not installed; says how to install it."""
    try:
        import pettingzoo as module
        import pettingzoo.utils
    except ModuleNotFoundError as error:
        raise _missing(error, "pettingzoo>=1.25") from error
    return module


def _missing(error: ModuleNotFoundError, package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{error}: worlds of Gymnasium and PettingZoo need it; pip install '{package}'", name=error.name
    )
