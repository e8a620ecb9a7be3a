"""The command `badger record`: episodes of a trained agent, or of random actions, in a file to learn from."""

import inspect
from functools import partial
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from tyro.conf import Positional

from badger.agent import Agent
from badger.cli.evaluate import choose_policy
from badger.cli.flags import parse_flags
from badger.cli.loading import load_subject
from badger.cli.paths import check_output_file
from badger.cli.typed import typed_flags
from badger.cli.usage import Work, parse
from badger.datasets import EpisodeDataset
from badger.evaluation.data_collection import check_recording, record_episodes
from badger.evaluation.evaluate import check_step
from badger.learners import Learner
from badger.learners.population import member_learners
from badger.policies.policies import Policy
from badger.policies.uniform import Uniform
from badger.recipes.build import build_run, find_recipe
from badger.rng import generator
from badger.runs.signals import Interrupted, signal_number
from tasks import Task

STREAM = "record"
"""The random stream of recorded episodes."""


class _Recorded(NamedTuple):
    """Who is recorded, where, and by which policy."""

    agent: Agent
    task: Task
    rng: torch.Generator
    policy: Policy


def record_command(words: list[str]) -> Work:
    """Loads the run of `badger record`; the work records its agent.

    Args:
        words: the command line after `badger record`.
    """
    rest: list[str] = []

    def record(
        run: Positional[Path | None] = None,
        *,
        out: Path,
        out_format: Literal["hdf5", "minari"] = "hdf5",
        episodes: int = 100,
        random: bool = False,
        recipe: str | None = None,
        deterministic: bool = False,
        sampled: bool = False,
        experts: int | None = None,
        target_return: float | None = None,
        target_rewards: tuple[str, ...] = (),
        batch: int | None = None,
        member: int = 0,
        best: bool = False,
        seed: int = 0,
        build: str | None = None,
        trust_code: bool = False,
    ) -> Work:
        """Record what a trained agent does, with fixed weights, to a file of episodes, from which others can learn.

        badger record --recipe RECIPE --random records random actions in the task of a recipe, without a run; its flags
        may follow, such as --length 10.

        Args:
            run: run folder.
            out: file to be written, or folder of Minari.
            out_format: hdf5, one file that is read fast; minari, a folder that Minari reads, of one agent.
            episodes: number of episodes. Those of a finite task are drawn from its training data.
            random: take uniformly random allowed actions instead of the agent's.
            recipe: record in the task of this recipe instead of a run's; needs --random.
            deterministic: take the most likely actions; default: as the learner was told by its eval_policy.
            sampled: sample the actions, as in training.
            experts: number of experts; default: as in training.
            target_return: the return that a Decision Transformer is asked for; default: as in training.
            target_rewards: the rewards that a Generalised Decision Transformer is asked for, such as 30x0.6 30x-0.6:
                0.6 in 30 steps, and -0.6 in 30; default: as in training.
            batch: episodes side by side; default: as many as fit into 256 MiB, up to 1,024.
            member: index of an agent in a population, from 0 on.
            best: use best.pt, the checkpoint of the best figure of training or evaluation, not the last one.
            seed: of the episodes.
            build: module:function that returns the untrained run, for a run that was built without a recipe.
            trust_code: allow importing code of others that its run.json names.
        """
        check_new_file("out", out)
        if (run is None) == (recipe is None):
            raise ValueError("want a run folder, or --recipe RECIPE --random" + (", not both" if recipe else ""))
        if random and (deterministic or sampled):
            raise ValueError(f"--random: --{'sampled' if sampled else 'deterministic'} is given, too; want one of them")
        if run is None:
            recorded = _from_recipe(recipe or "", rest, random=random, seed=seed)
        else:
            subject = load_subject(
                run, member=member, best=best, seed=seed, build=build, trust_code=trust_code, stream=STREAM,
                target_return=target_return, target_rewards=target_rewards,
            )  # fmt: skip
            policy = choose_policy(subject.learner, deterministic, sampled)[1]
            recorded = _recorded(subject.learner, policy, subject.rng, random=random)
        check_recording(recorded.task, out, out_format, episodes=episodes, batch=batch)
        if not recorded.task.external:
            check_step(recorded.agent, recorded.task, recorded.policy, experts=experts)
        return partial(_record, recorded, out, out_format, episodes=episodes, experts=experts, batch=batch)

    own = {name for name, _ in inspect.signature(record).parameters.items()}
    if any(flag.name == "recipe" for flag in typed_flags(words)):
        words, rest = _split(words, own)
    return parse(record, words, prog="badger record")


def check_new_file(flag: str, file: Path) -> None:
    """Checks that a file can be written and does not exist: a recording is not to be replaced by another one.

    Args:
        flag: that names it.
        file: the path.

    Raises:
        ValueError: it exists, or cannot be written.
    """
    check_output_file(flag, file)
    if file.exists():
        raise ValueError(f"--{flag} {file}: want a file that does not exist yet; choose another name, or delete it")


def _split(words: list[str], own: set[str]) -> tuple[list[str], list[str]]:
    """The words of this command, and those of the recipe: flags that this command does not have."""
    flags = typed_flags(words)
    others = [flag for flag in flags if flag.name not in own and flag.word not in ("-h", "--help")]
    theirs = {i for flag in others for i in range(flag.start, flag.stop)}
    return [word for i, word in enumerate(words) if i not in theirs], [words[i] for i in sorted(theirs)]


def _from_recipe(recipe: str, flags: list[str], *, random: bool, seed: int) -> _Recorded:
    """Random actions in the task of a recipe."""
    if not random:
        raise ValueError(f"--recipe {recipe}: want --random, too: an agent that is not trained has nothing to record")
    given = parse_flags(find_recipe(recipe), flags, prog=f"badger record --recipe {recipe}")
    del given["folder"], given["tensorboard"]
    run = build_run(recipe, **given)
    learner = member_learners(run.learner)[0]
    return _recorded(learner, learner.eval_policy, generator(seed, STREAM, device=run.device), random=True)


def _recorded(learner: Learner, policy: Policy, rng: torch.Generator, *, random: bool) -> _Recorded:
    """The agent of a learner in the task that it learns; a finite one has its training data."""
    space = learner.task.action_space
    return _Recorded(learner.agent, learner.task, rng, Uniform(space) if random else policy)


def _record(
    recorded: _Recorded, out: Path, out_format: str, *, episodes: int, experts: int | None, batch: int | None
) -> int:
    try:
        data = record_episodes(
            recorded.agent, recorded.task, out, episodes=episodes, rng=recorded.rng, policy=recorded.policy,
            experts=experts, batch=batch, out_format=out_format, progress=True,
        )  # fmt: skip
    except KeyboardInterrupt as stop:
        left = (
            f"{len(EpisodeDataset.load(out))} of {episodes} episodes are in {out}" if out.exists() else "none written"
        )
        raise Interrupted(f"stopped: {left}", signal_number(stop)) from stop
    print("\n".join(describe(data, out)))
    return 0


def describe(data: EpisodeDataset, file: Path) -> list[str]:
    """What was recorded, in three lines.

    Args:
        data: the data set.
        file: its file.
    """
    returns = data.returns.double().reshape(len(data), -1).mean(-1)
    return [
        f"recorded        {len(data)} episodes of {data.task}, {int(data.length.sum())} steps, in {file}",
        f"return          {returns.mean():.4f}, from {returns.min():.4g} to {returns.max():.4g}",
        f"statistics      badger inspect {file}",
    ]
