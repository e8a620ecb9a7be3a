"""Small batches of episodes, random actions for them, and comparisons of steps.

Shapes: B episode, P agent of the environment, A numbers of an action.
"""

from typing import Any

import torch
from torch import Tensor

from badger.testing.contract import close, equal, expect
from tasks import Continuous, Discrete, Mixed, MultiDiscrete, Step, Task

B = 4
Play = list[tuple[Any, Step]]


def seeded(seed: int = 0) -> torch.Generator:
    """A random generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def actors(task: Task) -> tuple[int, ...]:
    """The shape of the axis of agents, () for a single agent."""
    return () if task.agents is None else (task.agents,)


def numbers(task: Task, seed: int = 1, batch: int = B) -> Tensor:
    """Random outputs of an agent, (batch, A), or (batch, P, A) for a multi-agent task."""
    return torch.randn(batch, *actors(task), task.action_space.size, generator=seeded(seed), dtype=task.dtype)


def action(task: Task, seed: int = 1) -> Tensor:
    """Random actions; integers for discrete action spaces."""
    output = numbers(task, seed)
    match task.action_space:
        case Continuous(low=low, high=high):
            return output.clamp(low, high)
        case MultiDiscrete(nvec=nvec):
            return torch.stack([part.argmax(-1) for part in output.split(nvec, -1)], -1)
        case Mixed(choices=choices, numbers=reals):
            *logits, real = output.split([*choices.nvec, reals.size], -1)
            return torch.cat(
                [torch.stack([part.argmax(-1) for part in logits], -1), real.clamp(reals.low, reals.high)], -1
            )
        case _:
            return output.argmax(-1)


def actions(task: Task, seed: int = 0) -> list[Tensor]:
    """Random actions for a whole episode."""
    return [action(task, seed + t) for t in range(task.steps)]


def play(task: Task, actions: list[Tensor], seed: int = 0) -> Play:
    """An episode with the given actions: [(state, step)], starting with the reset."""
    rng = seeded(seed)
    episode = [task.reset(len(actions[0]), rng)]
    for step_action in actions:
        episode.append(task.step(episode[-1][0], step_action, rng))
    return episode


def episode_done(step: Step) -> Tensor:
    """Mask of the episodes that have ended for all agents, (B,)."""
    done = step.terminated | step.truncated
    return done if done.dim() == 1 else done.all(-1)


def same(a: Step, b: Step, rows: Any = slice(None)) -> None:
    """Raises ContractError unless two steps are bitwise equal in these rows."""
    equal(a.scores.keys(), b.scores.keys(), "scores")
    parts = [(name, getattr(a, name), getattr(b, name)) for name in a._fields if name != "scores"]
    parts += [(f"score {name!r}", a.scores[name], b.scores[name]) for name in a.scores]
    for name, x, y in parts:
        expect((x is None) == (y is None), f"{name} in both steps or in neither", (x, y))
        if x is not None:
            close(x[rows], y[rows], f"an equal {name}", rtol=0, atol=0, equal_nan=True)


def one_hot(task: Task, choices: Tensor) -> Tensor:
    """One-hot encoding of discrete actions, concatenated for several choices."""
    assert isinstance(task.action_space, Discrete | MultiDiscrete)
    multiple = isinstance(task.action_space, MultiDiscrete)
    nvec = task.action_space.nvec if isinstance(task.action_space, MultiDiscrete) else (task.action_space.n,)
    columns = choices.unbind(-1) if multiple else (choices,)
    encoded = [torch.nn.functional.one_hot(column, n) for column, n in zip(columns, nvec, strict=True)]
    return torch.cat(encoded, -1).to(task.dtype)
