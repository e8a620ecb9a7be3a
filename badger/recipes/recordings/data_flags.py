"""Flags that name recorded episodes, from a file or of random actions, and their task."""

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from badger.datasets import EpisodeDataset
from badger.evaluation.data_collection import play_episodes, task_name
from badger.policies.uniform import Uniform
from badger.recipes.parts import ACT, BUS, CORE, TOPOLOGY, Part, PartKind
from badger.recipes.settings import Setup
from badger.rng import drawing_from, generator
from badger.trust import code_names
from tasks import TASKS, Gymnasium, PreviousActionReward, Task

RECORDED = "recorded"
"""The task that the file names."""
RANDOM = "random"
"""Data of random actions: random:1000."""


def recorded() -> Task:
    """The task that the file names, with its own defaults; `offline` looks it up there."""
    raise ValueError(f"task={RECORDED!r} is the task that the data names; it needs data")


def gymnasium(*, env: str = "CartPole-v1", steps: int = 0) -> Task:
    """An environment of Gymnasium.

    Args:
        env: an id, as for gymnasium.make.
        steps: environment steps after which an episode is truncated; 0: the environment's own limit, if it has one.
    """
    return Gymnasium(env, steps=steps)


TASK = PartKind("task", {RECORDED: recorded, **TASKS, "gymnasium": gymnasium}, 0, base=Task)
THE_RECORDED = TASK(RECORDED)


def random_episodes(task: Task, episodes: int, rng: torch.Generator) -> EpisodeDataset:
    """Episodes of random actions, in memory; longer recordings are better kept in a file.

    Args:
        task: the task.
        episodes: their number.
        rng: the generator.
    """
    head = ACT("mean") if task.agents is None else ACT("team")
    setup = Setup(
        core=CORE("linear"), bus=BUS("silent"), topology=TOPOLOGY("none"), act=head, experts=task.agents or 1,
        identity_size=0,
    )  # fmt: skip
    with drawing_from(rng):
        agent = setup.make_agent(task)
    played = play_episodes(agent, task, episodes, rng, Uniform(task.action_space))
    return EpisodeDataset.from_episodes(played, task.action_space, task_name(task))


@dataclass(frozen=True, kw_only=True)
class DataFlags:
    """What is learned from.

    Args:
        task: in which the agent is judged, and which was recorded; its options as --task.length 10. If not given, that
            of the data, with its options.
        data: file of recorded episodes, of badger record; random:1000: so many episodes of random actions in the task,
            drawn anew for each seed. To train on, it must be where it was, or in the current folder; to judge the
            trained agent, it is not needed.
        observe_previous: whether the agent observes its previous action and reward, too; a Decision Transformer does.
        target_return: the return that a Decision Transformer is asked for; if not given, the best one in the data.
        target_rewards: the rewards that a Generalised Decision Transformer is asked for, such as 30x0.6 30x-0.6: 0.6 in
            30 steps, and -0.6 in 30; if not given, those of the best episode in the data.
    """

    task: Part = THE_RECORDED
    data: str = "data.h5"
    observe_previous: bool = False
    target_return: float | None = None
    target_rewards: tuple[str, ...] = ()

    @property
    def is_random(self) -> bool:
        """Whether the data are random episodes, and no file."""
        return self.data.startswith(f"{RANDOM}:")

    def load(self, seed: int) -> EpisodeDataset:
        """The data.

        Args:
            seed: of random episodes.

        Raises:
            FileNotFoundError: there is no such file, and no task is named: else an agent that learned from it is built,
                to be judged.
            ValueError: random episodes without a task, or a number that is none.
        """
        if self.is_random:
            count = self.data.partition(":")[2]
            if not count.isdecimal() or int(count) < 1:
                raise ValueError(f"data={self.data}, want {RANDOM}: and a number of episodes, such as {RANDOM}:1000")
            if self.task.name == RECORDED:
                raise ValueError(f"data={self.data}: no file names the task; want --task, such as --task t_maze")
            return random_episodes(self.task.build(), int(count), generator(seed, "random episodes"))
        places = (Path(self.data), Path(Path(self.data).name))
        found = next((path for path in places if path.exists()), None)
        if found is not None:
            return EpisodeDataset.load(found)
        if self.task.name != RECORDED:
            return EpisodeDataset.missing(self.data, self.task.build())
        raise FileNotFoundError(
            f"data={self.data}: no such file; record one, such as badger record --recipe t_maze --random --out "
            f"{self.data}"
        )

    def resolve(self, data: EpisodeDataset, *, previous: bool) -> "DataFlags":
        """The flags with the task that the data names, and with whether previous actions and rewards are observed.

        With these an agent can be built again without the data, from any folder.

        Args:
            data: the recorded episodes.
            previous: whether the learner needs previous actions and rewards.

        Raises:
            ValueError: the data names no known task.
        """
        part = self._named(data)
        observed = previous or self.observe_previous or data.obs_size == PreviousActionReward(part.build()).obs_size
        path = self.data if self.is_random else str(Path(self.data).absolute())
        return dataclasses.replace(self, task=part, observe_previous=observed, data=path)

    def make_task(self) -> Task:
        """The task; of flags from `resolve`."""
        task = self.task.build()
        return PreviousActionReward(task) if self.observe_previous else task

    @property
    def arguments(self) -> dict[str, Any]:
        """The values of the flags."""
        options = {f"task.{name}": value for name, value in self.task.options.items()}
        values = {"task": self.task.name, "data": self.data, "observe_previous": self.observe_previous}
        return values | options

    def check(self, data: EpisodeDataset, task: Task) -> None:
        """Checks that the data is of the task, or of the one inside.

        Args:
            data: the recorded episodes.
            task: from `make_task`.

        Raises:
            ValueError: says what differs.
        """
        inside = isinstance(task, PreviousActionReward) and data.obs_size != task.obs_size
        try:
            data.check_task(task.task if inside else task)  # type: ignore[attr-defined]
        except ValueError as error:
            named = {"task": self.task.name} | {f"task.{name}": value for name, value in self.task.options.items()}
            given = ", ".join(f"{name}={value}" for name, value in named.items())
            raise ValueError(f"{given}: {error}; without task and its options it is that one") from error

    def _named(self, data: EpisodeDataset) -> Part:
        if self.task.name != RECORDED:
            return self.task
        kind, _, env = data.task.partition(" ")
        if kind == "Gymnasium" and env:
            if code_names("gymnasium", {"env": env}):
                raise ValueError(
                    f"task={RECORDED}: {self.data} was recorded in the environment {env!r}, which names others' code; "
                    f"if you trust it, want task=gymnasium, and its option env={env}"
                )
            return TASK("gymnasium", env=env)
        options = _options(env)
        if kind not in TASKS or options is None:
            raise ValueError(
                f"task={RECORDED}: {self.data} was recorded in {data.task or 'a task without a name'!r}, which is not "
                f"known by this name; want one of {', '.join(name for name in TASK.registry if name != RECORDED)}"
            )
        return Part(TASK, kind, options).check()


def _options(text: str) -> dict[str, Any] | None:
    """The options of a task, as `task_name` writes them after its name; None for another text."""
    try:
        options = json.loads(text or "{}")
    except ValueError:
        return None
    return options if isinstance(options, dict) else None
