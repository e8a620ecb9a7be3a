"""Contract tests of tasks: `check_task` and `TASK_PROPERTIES`.

The properties are in `steps`, `episodes`, `rewards` and `devices`; `cases` has the actions and comparisons they use.
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
"""The properties of the contract by name; each is a function of a task in float64."""

VALUE_STATE_PROPERTIES = frozenset({"a_state_is_a_value", "restart_changes_only_masked_rows"})
"""Properties that do not apply to tasks whose state is a handle to external environments (`Task.external`)."""

__all__ = ["TASK_PROPERTIES", "VALUE_STATE_PROPERTIES", "check_task"]


def check_task(factory: Callable[..., Task], *, properties: Collection[str] | None = None) -> None:
    """Checks a task against the contract of batched, seeded episodes.

    A task that declares `external` is checked without `VALUE_STATE_PROPERTIES`.

    Args:
        factory: the class of a task, or a function with its keyword argument dtype, as in `tasks.TASKS`.
        properties: names of `TASK_PROPERTIES`; None: all.

    Raises:
        ContractError: a property fails; the message has its name, the expected and the actual value.
        ValueError: an unknown name in `properties`.
    """
    task = factory(dtype=torch.float64)
    names = set(TASK_PROPERTIES if properties is None else properties)
    check_all(TASK_PROPERTIES, task, names - VALUE_STATE_PROPERTIES if task.external else names)
