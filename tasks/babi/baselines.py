"""Baselines and summary of bAbI: chance, the most common answer, and the error of each task."""

from collections import Counter
from collections.abc import Collection, Mapping
from math import log

from jaxtyping import Float, Int, UInt8
from torch import Tensor

from tasks.babi.parse import WORDS

FAILED = 0.05  # a task with a larger error counts as failed (Weston et al. 2015)


def references(
    tasks: Int[Tensor, " Q"], answers: UInt8[Tensor, "Q A"], counts: Int[Tensor, " Q"]
) -> dict[str, dict[str, float]]:
    """Scores that need no reading: of random words, and of the most common answer of each task."""
    frequencies = {task: Counter[tuple[int, ...]]() for task in tasks.unique().tolist()}
    for task, answer, count in zip(tasks.tolist(), answers.tolist(), counts.tolist(), strict=True):
        frequencies[task][tuple(answer[:count])] += 1
    correct = {task: counter.most_common(1)[0][1] for task, counter in frequencies.items()}
    chance = (1 / len(WORDS)) ** counts.double()
    return {
        "error": {
            "chance": 1 - chance.mean().item(),
            "commonest answer of each task": 1 - sum(correct.values()) / len(tasks),
        },
        "cross_entropy": {"chance": log(len(WORDS))},
    } | {f"error_task_{t}": {"commonest answer": 1 - correct[t] / frequencies[t].total()} for t in frequencies}


def task_errors(scores: Mapping[str, Float[Tensor, " episodes"]], *, exclude: Collection[int] = ()) -> dict[str, float]:
    """The error of each bAbI task, their `mean`, and the number of `failed` tasks.

    Args:
        scores: the scores of `badger.evaluate` on `BAbI`.
        exclude: tasks left out of `mean` and `failed`, such as those with substituted training files.

    Raises:
        ValueError: no task with a question is left.
    """
    means = {name: score.nanmean().item() for name, score in scores.items() if name.startswith("error_task_")}
    errors = {
        name: error for name, error in means.items() if error == error
    }  # NaN: none of its questions was evaluated
    included = [error for name, error in errors.items() if int(name.rsplit("_", 1)[1]) not in exclude]
    if not included:
        raise ValueError(
            f"scores of {sorted(errors) or 'no task'} with exclude={sorted(exclude)}, want at least one other task"
        )
    failed = sum(error > FAILED for error in included)
    return errors | {"mean": sum(included) / len(included), "failed": float(failed)}
