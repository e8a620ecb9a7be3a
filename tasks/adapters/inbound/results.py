"""Checks of the number of results that `reset` and `step` of an environment return.

This module also runs in worker processes; it does not import torch.
"""

from typing import Any

RESET_RESULTS = ("obs", "info")
STEP_RESULTS = ("obs", "reward", "terminated", "truncated", "info")


class InvalidResults(ValueError):
    """Other results than those of Gymnasium and PettingZoo."""


def check_results(results: Any, names: tuple[str, ...]) -> Any:
    """The results, if there are as many as there should be.

    Args:
        results: of an environment.
        names: of the results.

    Raises:
        InvalidResults: another number, as of the older interface of Gym.
    """
    if isinstance(results, tuple) and len(results) == len(names):
        return results
    got = f"{len(results)} values" if isinstance(results, tuple) else f"one {type(results).__name__}"
    raise InvalidResults(
        f"returned {got}, want {len(names)}: {', '.join(names)}; an environment of Gym before 0.26 must be wrapped, as "
        "by the package shimmy"
    )
