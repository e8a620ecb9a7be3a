"""Imports of optional libraries when they are first needed, with installation advice."""

import importlib.metadata
import importlib.util
import re
from functools import lru_cache
from typing import Any

from tasks.adapters.named_imports import import_named


def import_env_module(module: str, env: str) -> Any:
    """Imports the module of an environment.

    Args:
        module: the name of the module.
        env: the argument `env`, for the message.

    Raises:
        ValueError: the module, or one that it imports, is not installed, or it ends the process; or a file has named it
            and it is not trusted.
    """
    try:
        return import_named(module, env, is_env=True)
    except ModuleNotFoundError as error:
        raise ValueError(f"env={env!r}: {error}; {_advice(error, module)}") from error
    except ImportError as error:  # a module that is there, without what is imported from it
        package = (error.name or module).partition(".")[0]
        raise ValueError(f"env={env!r}: {error}; {_installed(package)}, want a version that fits {module}") from error
    except (ValueError, TypeError) as error:  # of an empty or relative name
        raise ValueError(f"env={env!r}: {error}; want the name of a module") from error
    except SystemExit as error:
        raise ValueError(f"env={env!r}: module {module} ends the process when it is imported (exit {error})") from error


def require_gymnasium() -> Any:
    """Imports gymnasium.

    Raises:
        ModuleNotFoundError: it is not installed; the message has the command to install it.
        ImportError: it is older than needed.
    """
    try:
        import gymnasium as module
    except ModuleNotFoundError as error:
        raise _missing(error, "gymnasium>=1.1") from error
    _check_version("gymnasium", module.__version__, (1, 1))
    return module


def require_pettingzoo() -> Any:
    """Imports pettingzoo.

    Raises:
        ModuleNotFoundError: it is not installed; the message has the command to install it.
        ImportError: it is older than needed.
    """
    try:
        import pettingzoo as module
        import pettingzoo.utils
    except ModuleNotFoundError as error:
        raise _missing(error, "pettingzoo>=1.25") from error
    _check_version("pettingzoo", module.__version__, (1, 25))
    return module


def require_ale() -> Any:
    """Imports ale_py, with its games, and cv2, which scales their images.

    Raises:
        ModuleNotFoundError: one of them is not installed; the message has the command to install both.
    """
    try:
        import ale_py as module
        import cv2  # noqa: F401
    except ModuleNotFoundError as error:
        message = f"{error}: Atari games need it; pip install ale-py opencv-python-headless"
        raise ModuleNotFoundError(message, name=error.name) from error
    return module


@lru_cache(maxsize=16)
def _check_version(package: str, version: str, needed: tuple[int, int]) -> None:
    """Raises ImportError with both versions if the installed one is older."""
    numbers = re.match(r"(\d+)\.(\d+)", version)
    if numbers and (int(numbers[1]), int(numbers[2])) < needed:
        want = f"{package}>={needed[0]}.{needed[1]}"
        advice = f"pip install --upgrade '{want}'"
        raise ImportError(f"{package} {version} is installed, want {want}: {advice}", name=package)


def _missing(error: ModuleNotFoundError, package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{error}: environments of Gymnasium and PettingZoo need it; pip install '{package}'", name=error.name
    )


def _advice(error: ModuleNotFoundError, module: str) -> str:
    """What to do about a module that was not found: install its package, or look at its version."""
    package = module.partition(".")[0]
    missing = error.name or package
    root = missing.partition(".")[0]
    if root != missing and importlib.util.find_spec(root) is not None:
        return f"{_installed(root)}, and has no such module; check the name, or install another version"
    advice = f"pip install {package}" if root == package else f"it needs {root}: pip install {root}"
    return f"{advice}, or run badger where `import {module}` works"


def _installed(package: str) -> str:
    """A package with its version, if it has one."""
    for distribution in importlib.metadata.packages_distributions().get(package, []):
        return f"{distribution} {importlib.metadata.version(distribution)} is installed"
    return f"{package} is installed"
