"""Task distributions for meta-learning: random sizes, mixtures and curricula, sampled for each batch of episodes."""

import dataclasses
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise, product

import torch

from tasks.task import Task, init_fields

IntOrRange = int | tuple[int, int]
"""An integer, or an inclusive range of integers."""


class TaskDistribution(ABC):
    """Abstract base class of distributions over tasks; a learner samples one task for each outer step."""

    @property
    @abstractmethod
    def nominal(self) -> Task:
        """The single task that stands for the distribution, for building and evaluating an agent."""

    @abstractmethod
    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        """Samples the task of one batch of episodes.

        Args:
            rng: a random generator on the CPU, as the sampled sizes are needed on the host.
            step: the outer step.
        """


@dataclass(frozen=True)
class RandomSizes(TaskDistribution):
    """Distribution of one task with random sizes: each named field is uniform over its range.

    `RandomSizes(GuessingGame(), {"dims": (3, 6), "steps": (10, 20)})`. The nominal task has the upper ends.

    Args:
        task: the task whose fields are replaced.
        ranges: an integer or an inclusive range for each field name.

    Raises:
        ValueError: the task has no such field, a range is empty, or the task refuses a combination of the ends.
    """

    task: Task
    ranges: dict[str, IntOrRange] = field(default_factory=dict)

    def __post_init__(self) -> None:
        valid_names = init_fields(self.task)
        for name in self.ranges:
            if name not in valid_names:
                raise ValueError(
                    f"ranges: {type(self.task).__name__} has no field {name!r}, want some of: {', '.join(valid_names)}"
                )
        for corner in product(*self._ends.values()):
            self._resize(dict(zip(self.ranges, corner, strict=True)))  # raises at construction, not in training

    @property
    def nominal(self) -> Task:
        return self._resize({name: high for name, (_, high) in self._ends.items()})

    def simplify(self) -> "Task | RandomSizes":
        """The nominal task if every range has one value; otherwise this distribution."""
        fixed = all(low == high for low, high in self._ends.values())
        return self.nominal if fixed else self

    def widening_curriculum(self, begin: int, end: int) -> "Curriculum":
        """A curriculum whose ranges widen evenly from their lower ends to the full ranges, then end at the upper ends.

        Args:
            begin: the outer step until which only the lower ends are sampled.
            end: the outer step from which only the upper ends are sampled.

        Raises:
            ValueError: no range has more than one value, or there are fewer outer steps than sizes to add.
        """
        return self._growing(begin, end, lambda low, reached: (low, reached))

    def increasing_curriculum(self, begin: int, end: int) -> "Curriculum":
        """A curriculum of one size at a time, which increases evenly; earlier sizes are not sampled again.

        Args:
            begin: the outer step until which only the lower ends are sampled.
            end: the outer step from which only the upper ends are sampled.

        Raises:
            ValueError: as `widening_curriculum`.
        """
        return self._growing(begin, end, lambda _, reached: reached)

    def _growing(self, begin: int, end: int, sizes: Callable[[int, int], IntOrRange]) -> "Curriculum":
        """The curriculum of `sizes(low, reached)`: the range to sample, given the lower end and the size reached."""
        stages = max((high - low for low, high in self._ends.values()), default=0)
        if not stages:
            raise ValueError(f"no range in {self.ranges} has more than one value, want one such as (3, 6)")
        if not 0 < begin <= end - stages:
            raise ValueError(f"curriculum from {begin} to {end}, want outer steps above 0, at least {stages} of them")
        tasks: list[Task | TaskDistribution] = []
        for stage in range(stages + 1):
            ranges = {
                name: sizes(low, low + stage * (high - low) // stages) for name, (low, high) in self._ends.items()
            }
            tasks.append(RandomSizes(self.task, ranges))
        until = [begin + stage * (end - begin) // stages for stage in range(stages + 1)]
        return Curriculum([*tasks, self.nominal], until)

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        return self._resize({name: sample_size(size, rng) for name, size in self.ranges.items()})

    @property
    def _ends(self) -> dict[str, tuple[int, int]]:
        return {name: size_range(**{name: size}) for name, size in self.ranges.items()}

    def _resize(self, sizes: dict[str, int]) -> Task:
        return dataclasses.replace(self.task, **sizes)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Mixture(TaskDistribution):
    """Mixture of tasks for multi-task training: each batch of episodes is of one randomly chosen task.

    The first task is the nominal one. All tasks need the same `obs_size`, and the same action space unless the output
    head of the agent has a variable number of outputs.

    Args:
        tasks: tasks or distributions of tasks.
        weights: unnormalized probabilities of the tasks; None: uniform.

    Raises:
        ValueError: no tasks, tasks of different `obs_size`, or weights that are negative, all 0 or of another number.
    """

    tasks: Sequence[Task | TaskDistribution]
    weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        check_same_obs_size(self.tasks, "mixture")
        if self.weights is not None and (
            len(self.weights) != len(self.tasks) or min(self.weights) < 0 or not sum(self.weights)
        ):
            raise ValueError(
                f"weights={list(self.weights)}, want {len(self.tasks)} non-negative numbers that are not all 0"
            )

    @property
    def nominal(self) -> Task:
        return nominal(self.tasks[0])

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        weights = torch.tensor(self.weights or [1] * len(self.tasks), dtype=torch.float64)
        return sample_task(self.tasks[int(torch.multinomial(weights, 1, generator=rng))], rng, step)


@dataclass(frozen=True)
class Curriculum(TaskDistribution):
    """Curriculum: a sequence of tasks of increasing difficulty, switched at given outer steps (Bengio et al. 2009).

    The last task is the nominal one. All tasks need the same `obs_size`, and the same action space unless the output
    head of the agent has a variable number of outputs.

    Args:
        tasks: tasks or distributions of tasks, in their order.
        until: the outer step at which each task but the last ends.

    Raises:
        ValueError: no tasks, tasks of different `obs_size`, or steps in `until` that do not increase or are not one
            fewer than the tasks.
    """

    tasks: Sequence[Task | TaskDistribution]
    until: Sequence[int]

    def __post_init__(self) -> None:
        check_same_obs_size(self.tasks, "curriculum")
        steps = [0, *self.until]
        if len(steps) != len(self.tasks) or any(a >= b for a, b in pairwise(steps)):
            raise ValueError(f"until={list(self.until)}, want {len(self.tasks) - 1} increasing outer steps above 0")

    @property
    def nominal(self) -> Task:
        return nominal(self.tasks[-1])

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        return sample_task(self.tasks[bisect_right(self.until, step)], rng, step)


@dataclass(frozen=True)
class Bucketed(TaskDistribution):
    """Length-bucketed batches of a finite task: samples one of `Task.buckets`, weighted by its number of episodes.

    All episodes are equally likely. `Bucketed(BAbI())` gives batches of questions of similar length. The nominal task
    is the whole task. Data files are read at the first sample.

    Args:
        task: a finite task, or a distribution of finite tasks, which is sampled first.
    """

    task: Task | TaskDistribution

    @property
    def nominal(self) -> Task:
        return nominal(self.task)

    def sample(self, rng: torch.Generator, step: int = 0) -> Task:
        """Samples a bucket of the task.

        Args:
            rng: a random generator on the CPU.
            step: the outer step.

        Raises:
            ValueError: the task is not finite.
        """
        task = sample_task(self.task, rng, step)
        if task.num_episodes is None:
            raise ValueError(f"task={type(task).__name__} is not finite, want a task with num_episodes and buckets")
        buckets = task.buckets
        weights = torch.tensor([bucket.num_episodes for bucket in buckets], dtype=torch.float64)
        return buckets[int(torch.multinomial(weights, 1, generator=rng))]


def check_same_obs_size(tasks: Sequence[Task | TaskDistribution], kind: str) -> None:
    """Raises ValueError if there are no tasks, or if their observations have different sizes."""
    if not tasks:
        raise ValueError(f"a {kind} of 0 tasks, want at least 1")
    sizes = {type(nominal(task)).__name__: nominal(task).obs_size for task in tasks}
    if len({nominal(task).obs_size for task in tasks}) > 1:
        raise ValueError(f"observations of sizes {sizes}, want the same of all tasks in a {kind}")


def nominal(task: Task | TaskDistribution) -> Task:
    """The task itself, or the nominal task of a distribution.

    Args:
        task: a task or a distribution of tasks.
    """
    return task.nominal if isinstance(task, TaskDistribution) else task


def sample_task(task: Task | TaskDistribution, rng: torch.Generator, step: int) -> Task:
    """The task itself, or a sample of a distribution.

    Args:
        task: a task or a distribution of tasks.
        rng: a random generator on the CPU.
        step: the outer step.
    """
    return task.sample(rng, step) if isinstance(task, TaskDistribution) else task


def size_range(**sizes: IntOrRange) -> tuple[int, int]:
    """The lower and upper end of one named size; both ends of an integer are the integer.

    Args:
        **sizes: one integer or range, by the name that messages show.

    Raises:
        ValueError: the range is empty.
    """
    ((name, size),) = sizes.items()
    low, high = (size, size) if isinstance(size, int) else size
    if low > high:
        raise ValueError(f"{name}={size}, want a number, or a range such as (3, 6)")
    return low, high


def sample_size(size: IntOrRange, rng: torch.Generator) -> int:
    """The integer itself, or a uniform sample of the range, both ends included.

    Args:
        size: an integer or a range.
        rng: a random generator on the CPU.
    """
    low, high = size_range(size=size)
    return low if low == high else int(torch.randint(low, high + 1, (), generator=rng))
