"""The contract of tasks: `check_task` and `TASK_PROPERTIES`.

`steps`, `episodes`, `rewards` and `devices` hold the properties, `cases` the actions and comparisons that they use.
"""

from collections.abc import Callable, Collection

import torch

from badger.testing.contract import Properties, check_all
from badger.testing.task.devices import DEVICES
from badger.testing.task.episodes import EPISODES
from badger.testing.task.rewards import REWARDS
from badger.testing.task.steps import STEPS
from tasks import Task

TASK_PROPERTIES: Properties = STEPS | EPISODES | REWARDS | DEVICES
"""The contract of tasks, by the names of its lines. Each takes a task, in float64."""

OF_VALUES = frozenset({"a_state_is_a_value", "restart_touches_only_its_rows"})
"""Properties that a task with external environments (`Task.external`) is exempt from: its state is a handle."""

__all__ = ["OF_VALUES", "TASK_PROPERTIES", "check_task"]


def check_task(factory: Callable[..., Task], *, properties: Collection[str] | None = None) -> None:
    """Checks a task against the contract of batched, seeded episodes.

    A task that declares `outside` is checked without the properties of states that are values.

    Args:
        factory: a task's class, or a function that takes its keyword argument dtype, as in `tasks.TASKS`.
        properties: names out of `TASK_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came.
        ValueError: a name that is no property.
    """
    task = factory(dtype=torch.float64)
    names = set(TASK_PROPERTIES if properties is None else properties)
    check_all(TASK_PROPERTIES, task, names - OF_VALUES if task.external else names)
