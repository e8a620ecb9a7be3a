"""Loading of a run folder by a command."""

import inspect
from pathlib import Path
from typing import NamedTuple

import torch

from badger.agent import Agent
from badger.learners import Learner
from badger.learners.population import choose_member, member_learners
from badger.recipes.build import load_run
from badger.recipes.recordings.recipe import ask
from badger.registry import resolve_name
from badger.rng import generator
from badger.runs.run import Run, read_description
from badger.trust import ALL
from tasks import Task


class Subject(NamedTuple):
    """An agent of a loaded run, its evaluation task and the generator of its episodes.

    Args:
        run: the run.
        learner: of the agent.
        task: the task for evaluation.
        rng: on the agent's device.
        member: the index of the agent in a population.
        num_members: 1 for a run of one agent.
    """

    run: Run
    learner: Learner
    task: Task
    rng: torch.Generator
    member: int
    num_members: int

    @property
    def agent(self) -> Agent:
        """The trained agent."""
        return self.learner.agent


def load_subject(
    folder: Path,
    *,
    member: int,
    best: bool,
    seed: int,
    build: str | None,
    trust_code: bool,
    stream: str = "evaluate",
    target_return: float | None = None,
    target_rewards: tuple[str, ...] = (),
) -> Subject:
    """Loads what a command judges.

    Args:
        folder: of the run.
        member: index of an agent in a population, from 0 on.
        best: load the best checkpoint instead of the last one.
        seed: of the episodes.
        build: as in `load`.
        trust_code: as in `load`.
        stream: name of the random stream of the episodes.
        target_return: that the agent is asked for; None: as in training.
        target_rewards: likewise, as words of the command line.

    Raises:
        ValueError: no such member, an agent that is not asked for a return, and as `load`.
    """
    run = load(folder, best=best, build=build, trust_code=trust_code)
    ask(choose_member(run.learner, member).agent, target_return, target_rewards)
    learner, rng = choose_member(run.learner, member), generator(seed, stream, device=run.device)
    return Subject(run, learner, run.learner.task.evaluation_task, rng, member, len(member_learners(run.learner)))


def load(
    folder: Path,
    *,
    best: bool = False,
    build: str | None = None,
    trust_code: bool = False,
    total_steps: int | None = None,
) -> Run:
    """Loads a run folder.

    Args:
        folder: of the run.
        best: loads the best checkpoint instead of the last one.
        build: `module:function` that returns the untrained run, for a run that was built without a recipe.
        trust_code: allows importing any code that its run.json names.
        total_steps: as in `badger.load_run`.

    Raises:
        FileNotFoundError: the folder has no run.
        UntrustedCode: its run.json names code of others.
        DamagedFile: a file is damaged, or there is no valid checkpoint.
        ValueError: there is neither a recipe nor `build`.
    """
    if build is None and read_description(folder).recipe is None:
        raise ValueError(
            f"{folder} was built without a recipe; give --build module:function, a function without arguments that "
            "returns the untrained run"
        )
    if build is not None and ":" not in build:
        raise ValueError(f"--build {build}: want module:function")
    function = None if build is None else resolve_name({}, build, "function", inspect.isfunction)
    return load_run(folder, function, best, (ALL,) if trust_code else (), total_steps=total_steps)
