"""Published results to compare with, and their source."""

from tasks import GuessingGame, Task

SOURCE = (
    "Rosa et al. 2019 (arXiv:1912.01513), public code badger-2019: guessing game, final error of an attention agent "
    "trained on 3 to 6 dims and 5 to 40 experts; read off charts, +-0.01"
)
STEPS, EXPERTS, DIMS = 20, 20, 6  # sizes of the published results

OVER_DIMS = {  # with 20 experts
    1: 0.078, 2: 0.022, 3: 0.028, 4: 0.050, 5: 0.083, 6: 0.133, 7: 0.244, 8: 0.356, 10: 0.489, 12: 0.606, 15: 0.694,
    19: 0.822,
}  # fmt: skip
OVER_EXPERTS = {  # of 6 dims
    1: 1.19, 6: 0.30, 11: 0.18, 16: 0.144, 21: 0.145, 31: 0.130, 41: 0.124, 51: 0.128, 61: 0.130, 76: 0.144,
}  # fmt: skip


def published_error(task: Task, experts: int) -> float | None:
    """The published error of a task and a number of experts; None without one.

    Args:
        task: the task.
        experts: E.
    """
    if not isinstance(task, GuessingGame) or task.steps != STEPS:
        return None
    if experts == EXPERTS:
        return OVER_DIMS.get(task.dims)
    return OVER_EXPERTS.get(experts) if task.dims == DIMS else None
