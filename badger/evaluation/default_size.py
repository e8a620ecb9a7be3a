"""The size of a default evaluation, which follows from the trained environment steps: how many episodes, and how long.

It is counted in steps and not in seconds, so that the same run and seed give the same figure on any machine.
"""

from collections.abc import Mapping

from torch import Tensor

from badger.evaluation.evaluate import replace_fields
from tasks import Task, init_fields

DEFAULT_EPISODES = 10, 100
"""The smallest and the largest default number of episodes."""
DEFAULT_FRACTION = 10
"""The default evaluation takes at most one of so many trained environment steps, above the smallest size."""
SHORTEST_LIMIT = 1000
"""Steps of an episode that are played in any case."""


def default_evaluation(task: Task, env_steps: int) -> tuple[Task, int | None]:
    """The task and the number of episodes of a default evaluation: as much as fits into a tenth of the trained steps.

    There are 10 to 100 episodes; None, all of them, of a finite task. Where a tenth of the trained steps is less than
    10 of the longest episodes, episodes of an external environment are truncated at a hundredth, but not below 1,000
    steps: an untrained agent may stand still for all 27,000 steps of an Atari game, and wait for it ten times.

    Args:
        task: of whole episodes.
        env_steps: environment steps of the training, over all copies.
    """
    fewest, most = DEFAULT_EPISODES
    budget = env_steps // DEFAULT_FRACTION
    task = with_limit(task, max(SHORTEST_LIMIT, budget // fewest))
    return task, None if task.num_episodes is not None else min(max(budget // task.steps, fewest), most)


def with_limit(task: Task, steps: int) -> Task:
    """A task whose external episodes are truncated at a number of steps; other tasks as they are.

    Args:
        task: of whole episodes.
        steps: the limit.
    """
    if not task.external or task.steps <= steps or "steps" not in init_fields(task):
        return task
    return replace_fields(task, steps=steps)


def describe_limit(task: Task, whole: Task, scores: Mapping[str, Tensor]) -> str:
    """How many episodes were truncated that might have gone on, in words; "" for none.

    Args:
        task: as it was evaluated.
        whole: of whole episodes.
        scores: of the evaluation.
    """
    reached = int((scores["episodic_length"] >= task.steps).sum()) if task.steps < whole.steps else 0
    if not reached:
        return ""
    return (
        f"{reached} of {len(scores['return'])} episodes were truncated after {task.steps:,} of at most {whole.steps:,} "
        "steps; whole ones: badger evaluate RUN --episodes N"
    )
