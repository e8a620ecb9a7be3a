"""How well bAbI is answered: by chance, by the commonest answer, and task by task."""

from collections import Counter
from collections.abc import Collection, Mapping
from math import log

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tasks.babi.parse import WORDS

FAILED = 0.05  # a task whose error is above it is failed (Weston et al. 2015)


def references(
    tasks: Int[Tensor, " Q"], answers: UInt8[Tensor, "Q A"], counts: Int[Tensor, " Q"]
) -> dict[str, dict[str, float]]:
    """What is reached without reading: by naming words at random, and by the commonest answer of each task."""
    often = {task: Counter[tuple[int, ...]]() for task in tasks.unique().tolist()}
    for task, answer, count in zip(tasks.tolist(), answers.tolist(), counts.tolist(), strict=True):
        often[task][tuple(answer[:count])] += 1
    right = {task: told.most_common(1)[0][1] for task, told in often.items()}
    chance = (1 / len(WORDS)) ** counts.double()
    return {
        "error": {
            "chance": 1 - chance.mean().item(),
            "commonest answer of each task": 1 - sum(right.values()) / len(tasks),
        },
        "cross_entropy": {"chance": log(len(WORDS))},
    } | {f"error_task_{task}": {"commonest answer": 1 - right[task] / often[task].total()} for task in often}


def task_errors(scores: Mapping[str, Float[Tensor, " episodes"]], *, exclude: Collection[int] = ()) -> dict[str, float]:
    """Of what `evaluate` gives for bAbI: the error of each task, their `mean`, and how many are `failed`.

    exclude: tasks that count for neither, such as those with substituted training files.

    Raises:
        ValueError: no task with a question is left.
    """
    named = {name: score.nanmean().item() for name, score in scores.items() if name.startswith("error_task_")}
    errors = {name: error for name, error in named.items() if error == error}  # NaN: no question of it was played
    counted = [error for name, error in errors.items() if int(name.rsplit("_", 1)[1]) not in exclude]
    if not counted:
        raise ValueError(
            f"scores of {sorted(errors) or 'no task'} with apart={sorted(exclude)}, want a task that counts"
        )
    failed = sum(error > FAILED for error in counted)
    return errors | {"mean": sum(counted) / len(counted), "failed": float(failed)}
