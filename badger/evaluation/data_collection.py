"""Records what an agent does in a task to a file of episodes, to be learned from offline.

Shapes: B episode.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from badger.agent import Agent
from badger.datasets import EpisodeDataset, Episodes
from badger.datasets.formats import WRITERS, open_writer
from badger.datasets.from_rollout import first_episodes
from badger.datasets.minari.writer import check_minari
from badger.evaluation.batches import MAX_EXTERNAL_ENVS, batch_size
from badger.evaluation.evaluate import evaluation_mode
from badger.policies.deterministic import choose_deterministic, policy_for_env
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.footprint import trajectory_bytes
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from comms import get_by_name
from tasks import TASKS, PreviousActionReward, Task

BATCH_BYTES = 2**28
"""Memory that the recorded steps of a batch take at most by default, unless one episode takes more."""


def record_episodes(
    agent: Agent,
    task: Task,
    out: str | os.PathLike[str],
    *,
    episodes: int,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    deterministic: bool | None = None,
    experts: int | None = None,
    batch: int | None = None,
    out_format: str = "hdf5",
    progress: bool = False,
) -> EpisodeDataset:
    """Writes new episodes of an agent with fixed weights to a file, batch by batch, in the memory that one batch takes.

    Episodes are those of `evaluate`: of each row of a batch the first one counts. Where the agent's answer to a
    discrete task is logits, the most likely choice is taken and recorded. If recording is interrupted or fails, the
    file has the batches that were complete.

    Args:
        agent: the agent.
        task: the task; episodes of a finite one are drawn at random.
        out: the file, which must not exist.
        episodes: number of episodes.
        rng: the generator, on the agent's device.
        policy: from outputs to actions; `badger.policies.uniform.Uniform` for random walks.
        deterministic: True: the most likely actions of the policy; False: sampled ones; None: the policy as it is.
        experts: number of experts; None: as the agent was built.
        batch: episodes side by side; None: as many as `evaluate` has, if their steps fit into 256 MiB.
        out_format: "hdf5", one file; or "minari", a folder that Minari reads, of one agent.
        progress: show a progress bar over episodes, if standard error is a terminal.

    Returns:
        The data set in the file.

    Raises:
        FileExistsError: the file exists.
        ValueError: episodes or batch < 1; a task whose numbers the format cannot hold.
    """
    path = Path(out)
    check_recording(task, path, out_format, episodes=episodes, batch=batch)
    if path.exists():
        raise FileExistsError(f"{path} exists: choose another file, or delete it")
    policy = policy_for_env(choose_deterministic(policy, deterministic), task.action_space)
    writer = open_writer(path, out_format, task.action_space, task_name(task))
    size = default_batch(agent, task, experts) if batch is None else batch
    try:
        with tqdm(total=episodes, unit="episode", leave=False, disable=None if progress else True) as bar:
            for count in _batches(task, episodes, size):
                writer.append(play_episodes(agent, task, count, rng, policy, experts=experts))
                bar.update(count)
    finally:  # after an interruption, too
        if writer.episodes:
            writer.close()
        else:
            writer.discard()
    return EpisodeDataset.load(path)


def play_episodes(
    agent: Agent, task: Task, episodes: int, rng: torch.Generator, policy: Policy, *, experts: int | None = None
) -> Episodes:
    """New episodes of an agent with fixed weights, side by side.

    Args:
        agent: the agent.
        task: the task.
        episodes: B.
        rng: the generator, on the agent's device.
        policy: from outputs to actions.
        experts: number of experts; None: as the agent was built.
    """
    with evaluation_mode(agent):
        carry = initial_carry(agent, task, episodes, rng, experts=experts)
        trajectory, carry = rollout(agent, task, carry, rng, policy, steps=task.steps, first_episodes=True)
    return first_episodes(trajectory, carry.step)


def check_recording(task: Task, path: Path, out_format: str, *, episodes: int, batch: int | None) -> None:
    """Checks what `record_episodes` can record.

    Args:
        task: the task.
        path: file or folder.
        out_format: of the file.
        episodes: number of episodes.
        batch: episodes side by side, or None.

    Raises:
        ValueError: episodes or batch < 1; an unknown format; a task whose numbers it cannot hold.
    """
    for name, number in {"episodes": episodes, "batch": batch}.items():
        if number is not None and number < 1:
            raise ValueError(f"{name}={number}, want at least 1")
    if task.dtype not in (torch.float16, torch.float32, torch.float64):
        raise ValueError(f"dtype={task.dtype} of {type(task).__name__}, want float16, float32 or float64 to record it")
    get_by_name(WRITERS, out_format, "out_format")
    if out_format == "minari":
        check_minari(path, task.agents)


def default_batch(agent: Agent, task: Task, experts: int | None) -> int:
    """The number of episodes that are recorded side by side.

    Args:
        agent: the agent.
        task: the task.
        experts: number of experts; None: as the agent was built.
    """
    size = batch_size(agent.experts if experts is None else experts)
    size = min(size, MAX_EXTERNAL_ENVS) if task.external else size
    return max(1, min(size, BATCH_BYTES // trajectory_bytes(task, batch=1, steps=task.steps)))


def task_name(task: Task) -> str:
    """The name of a task in `tasks.TASKS`, or of its class, with that of its environment.

    A registered name is followed by the options that differ from their defaults, as JSON, so that the task can be made
    again: `cart_pole {"velocities": false}`. Of a `PreviousActionReward` it is that of the task inside: the size of
    the recorded observations tells them apart.

    Args:
        task: the task.
    """
    task = task.task if isinstance(task, PreviousActionReward) else task
    names = [name for name, entry in TASKS.items() if entry is type(task)]
    if names:
        return f"{names[0]} {json.dumps(options)}" if (options := _changed_options(task)) else names[0]
    env = getattr(task, "env", "")
    return f"{type(task).__name__} {env if isinstance(env, str) else ''}".rstrip()


def _changed_options(task: Task) -> dict[str, Any]:
    """The options of a task, but for its dtype, that JSON can hold and that differ from their defaults."""
    values = {part.name: (getattr(task, part.name), part.default) for part in fields(task) if part.init}
    del values["dtype"]
    plain = int | float | str | tuple | None
    return {name: value for name, (value, default) in values.items() if isinstance(value, plain) and value != default}


def _batches(task: Task, episodes: int, size: int) -> Iterator[int]:
    """Numbers of episodes of at most `size`."""
    size = min(size, task.num_episodes or size)
    for start in range(0, episodes, size):
        yield min(size, episodes - start)
