"""Where a core that plans finds observation, last action and last reward in the observation of a task."""

from experts import StepLayout
from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete, ObsPart, Task
from tasks.observations import part_index


def step_layout(task: Task) -> StepLayout | None:
    """The layout of a task's observation; None without last action and reward, or with several agents.

    A part of the observation that is named "goal" is the goal of a part of equal size that is named "position".

    Args:
        task: in which the agent acts, such as a `tasks.PreviousActionReward`.
    """
    size = part_index(task.obs_parts, "[action]")
    if size is None or task.agents is not None:
        return None
    choices, numbers = _action_sizes(task.action_space)
    return StepLayout(size, choices, numbers, _goals(task.obs_parts))


def _action_sizes(space: ActionSpace) -> tuple[tuple[int, ...], int]:
    """The options of each choice, and the number of real numbers."""
    match space:
        case Discrete(n=n):
            return (n,), 0
        case MultiDiscrete(nvec=nvec):
            return tuple(nvec), 0
        case Continuous(size=size):
            return (), size
        case Mixed(choices=several, numbers=reals):
            return tuple(several.nvec), reals.size


def _goals(parts: tuple[ObsPart, ...]) -> tuple[tuple[int, int], ...]:
    """Pairs of a number that names a goal, and the number that is to equal it."""
    goal, position = (part_index(parts, name) for name in ("goal", "position"))
    if goal is None or position is None:
        return ()
    sizes = [next(part.size for part in parts if part.name == name) for name in ("goal", "position")]
    return tuple((goal + i, position + i) for i in range(sizes[0])) if sizes[0] == sizes[1] else ()
