"""Libraries that a task needs and that most tasks do without, imported when they are first asked for."""

from typing import Any


def gymnasium() -> Any:
    """The module gymnasium.

    Raises:
        ModuleNotFoundError: it is not installed; says how to install it.
    """
    try:
        import gymnasium as module
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{error}: worlds of Gymnasium and PettingZoo need it; pip install 'gymnasium>=1.1'", name=error.name
        ) from error
    return module
