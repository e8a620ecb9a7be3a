"""Imports of optional libraries when they are first needed, with installation advice."""

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
        package = module.partition(".")[0]
        missing = error.name or package
        advice = f"pip install {package}" if missing == package else f"it needs {missing}: pip install {missing}"
        raise ValueError(f"env={env!r}: {error}; {advice}, or run badger where `import {module}` works") from error
    except (ValueError, TypeError) as error:  # of an empty or relative name
        raise ValueError(f"env={env!r}: {error}; want the name of a module") from error
    except SystemExit as error:
        raise ValueError(f"env={env!r}: module {module} ends the process when it is imported (exit {error})") from error


def require_gymnasium() -> Any:
    """Imports gymnasium.

    Raises:
        ModuleNotFoundError: it is not installed; the message has the command to install it.
    """
    try:
        import gymnasium as module
    except ModuleNotFoundError as error:
        raise _missing(error, "gymnasium>=1.1") from error
    return module


def require_pettingzoo() -> Any:
    """Imports pettingzoo.

    Raises:
        ModuleNotFoundError: it is not installed; the message has the command to install it.
    """
    try:
        import pettingzoo as module
        import pettingzoo.utils
    except ModuleNotFoundError as error:
        raise _missing(error, "pettingzoo>=1.25") from error
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


def _missing(error: ModuleNotFoundError, package: str) -> ModuleNotFoundError:
    return ModuleNotFoundError(
        f"{error}: environments of Gymnasium and PettingZoo need it; pip install '{package}'", name=error.name
    )
