"""Distributions of tasks: what is played is drawn anew for each batch of episodes, so that an agent learns for all."""

import dataclasses
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import torch

from tasks.task import Task, init_fields

IntOrRange = int | tuple[int, int]
"""A number, or a range of numbers with both its ends."""


class TaskDistribution(ABC):
    """Not one task but many. A learner draws one for each outer step."""

    @property
    @abstractmethod
    def nominal(self) -> Task:
        """The task by which an agent is built and judged where only one can be."""

    @abstractmethod
    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        """The task of one batch of episodes, in that outer step. rng is on the CPU: what is drawn are sizes, which the
        host must know."""


@dataclass(frozen=True)
class RandomSizes(TaskDistribution):
    """One task of many sizes: each named field is drawn uniformly from its range.

    `RandomSizes(GuessingGame(), {"dims": (3, 6), "steps": (10, 20)})`. The nominal task has the upper ends.

    Raises:
        ValueError: a field that the task does not have, or a range that is empty.
    """

    task: Task
    ranges: dict[str, IntOrRange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        has = init_fields(self.task)
        for name in self.ranges:
            if name not in has:
                raise ValueError(f"{type(self.task).__name__} has no {name} to be drawn; it has {', '.join(has)}")
        for corner in product(*self._ends.values()):
            self._sized(dict(zip(self.ranges, corner, strict=True)))  # refuses what the task refuses, now and not later

    @property
    def nominal(self) -> Task:
        return self._sized({name: high for name, (_, high) in self._ends.items()})

    def simplify(self) -> "Task | RandomSizes":
        """The nominal task itself, where no range has more than one number."""
        fixed = all(low == high for low, high in self._ends.values())
        return self.nominal if fixed else self

    def widening_curriculum(self, begin: int, end: int) -> "Curriculum":
        """The lower ends alone, until outer step `begin`; from then on the upper ends of the ranges rise evenly; from
        outer step `end` on the upper ends alone.

        Raises:
            ValueError: no range has more than one number, or there are fewer outer steps than sizes to grow by.
        """
        return self._growing(begin, end, lambda low, reached: (low, reached))

    def increasing_curriculum(self, begin: int, end: int) -> "Curriculum":
        """As `widening_curriculum`, but of the sizes reached the last one alone: each is given up for the next one.

        What was learnt for a size need not be kept then, only be near to what the next one wants.

        Raises:
            ValueError: as `widening_curriculum`.
        """
        return self._growing(begin, end, lambda _, reached: reached)

    def _growing(self, begin: int, end: int, sizes: Callable[[int, int], IntOrRange]) -> "Curriculum":
        """sizes: what is drawn of, given the lower end and how far the range has come."""
        stages = max((high - low for low, high in self._ends.values()), default=0)
        if not stages:
            raise ValueError(f"nothing grows in {self.ranges}, want a range such as (3, 6)")
        if not 0 < begin <= end - stages:
            raise ValueError(f"growing from {begin} to {end}, want outer steps above 0, at least {stages} of them")
        tasks: list[Task | TaskDistribution] = []
        for stage in range(stages + 1):
            far = {name: sizes(low, low + stage * (high - low) // stages) for name, (low, high) in self._ends.items()}
            tasks.append(RandomSizes(self.task, far))
        until = [begin + stage * (end - begin) // stages for stage in range(stages + 1)]
        return Curriculum([*tasks, self.nominal], until)

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        return self._sized({name: sample_size(size, rng) for name, size in self.ranges.items()})

    @property
    def _ends(self) -> dict[str, tuple[int, int]]:
        return {name: size_range(**{name: size}) for name, size in self.ranges.items()}

    def _sized(self, sizes: dict[str, int]) -> Task:
        return dataclasses.replace(self.task, **sizes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Mixture(TaskDistribution):
    """Several tasks that one agent learns at once: each batch of episodes is of one of them.

    The first is the nominal one. Observations must be alike; a port with a fixed number of outputs wants actions alike.

    Args:
        tasks: each a task or a distribution of tasks.
        weights: how often each is drawn, in any unit; None: all alike.

    Raises:
        ValueError: no tasks, tasks whose observations differ, or weights that do not fit.
    """

    tasks: Sequence[Task | TaskDistribution]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_same_obs_size(self.tasks, "mixture")
        if self.weights is not None and (
            len(self.weights) != len(self.tasks) or min(self.weights) < 0 or not sum(self.weights)
        ):
            raise ValueError(f"weights={list(self.weights)}, want {len(self.tasks)} that are not negative, nor all 0")

    @property
    def nominal(self) -> Task:
        return nominal(self.tasks[0])

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        weights = torch.tensor(self.weights or [1] * len(self.tasks), dtype=torch.float64)
        return sample_task(self.tasks[int(torch.multinomial(weights, 1, generator=rng))], rng, step)


@dataclass(frozen=True)
class Curriculum(TaskDistribution):
    """One task after the other: what is learnt of an easy one is a beginning for a harder one (Bengio et al. 2009).

    The last is the nominal one. Observations must be alike; a port with a fixed number of outputs wants actions alike.

    Args:
        tasks: each a task or a distribution of tasks.
        until: the outer step at which each of them but the last is over.

    Raises:
        ValueError: no tasks, tasks whose observations differ, or outer steps that are not as many, or do not rise.
    """

    tasks: Sequence[Task | TaskDistribution]
    until: Sequence[int]

    def __post_init__(self) -> None:
        check_same_obs_size(self.tasks, "curriculum")
        steps = [0, *self.until]
        if len(steps) != len(self.tasks) or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"until={list(self.until)}, want {len(self.tasks) - 1} outer steps above 0 that rise")

    @property
    def nominal(self) -> Task:
        return nominal(self.tasks[-1])

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        return sample_task(self.tasks[bisect_right(self.until, step)], rng, step)


@dataclass(frozen=True)
class Bucketed(TaskDistribution):
    """One part of a finite task for each batch (`Task.buckets`), as often as it has episodes: all are as likely.

    `Bucketed(BAbI())` plays batches of questions of similar length. The nominal task is the whole.

    Nothing is read before the first draw.

    Args:
        task: or a distribution of finite tasks, of which one is drawn first.

    Raises:
        ValueError: on the first draw, of an endless task.
    """

    task: Task | TaskDistribution

    @property
    def nominal(self) -> Task:
        return nominal(self.task)

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        whole = sample_task(self.task, rng, step)
        if whole.num_episodes is None:
            raise ValueError(f"{type(whole).__name__} is endless, want a finite task, which has parts")
        parts = whole.buckets
        weights = torch.tensor([part.num_episodes for part in parts], dtype=torch.float64)
        return parts[int(torch.multinomial(weights, 1, generator=rng))]


def check_same_obs_size(tasks: Sequence[Task | TaskDistribution], kind: str) -> None:
    """Raises ValueError where there are none, or their observations are of different sizes."""
    if not tasks:
        raise ValueError(f"a {kind} of 0 tasks, want at least 1")
    sizes = {type(nominal(task)).__name__: nominal(task).obs_size for task in tasks}
    if len({nominal(task).obs_size for task in tasks}) > 1:
        raise ValueError(f"observations of sizes {sizes}, want the same of all tasks in a {kind}")


def nominal(task: Task | TaskDistribution) -> Task:
    """The task itself, or the one that stands for a distribution."""
    return task.nominal if isinstance(task, TaskDistribution) else task


def sample_task(task: Task | TaskDistribution, rng: torch.Generator, step: int) -> Task:
    """The task itself, or the one that is drawn from a distribution for that outer step."""
    return task.sample(rng, step) if isinstance(task, TaskDistribution) else task


def size_range(**sizes: IntOrRange) -> tuple[int, int]:
    """Both ends of a named size; those of a number are the number.

    Raises:
        ValueError: the range is empty, or no pair.
    """
    ((name, size),) = sizes.items()
    pair = (size, size) if isinstance(size, int) else size
    if pair[0] > pair[1]:
        raise ValueError(f"{name}={size}, want a number, or a range such as (3, 6)")
    return pair


def sample_size(size: IntOrRange, rng: torch.Generator) -> int:
    """The number itself, or one of the range, both ends included."""
    low, high = size_range(size=size)
    return low if low == high else int(torch.randint(low, high + 1, (), generator=rng))
