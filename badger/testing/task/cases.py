"""Small batches of episodes, random actions for them, and comparisons of steps.

Shapes: B episode, P agent of the environment, A numbers of an action.
"""

from typing import Any

import torch
from torch import Tensor

from badger.testing.contract import close, equal, expect
from tasks import Continuous, Discrete, MultiDiscrete, Step, Task

B = 4
Play = list[tuple[Any, Step]]


def seeded(seed: int = 0) -> torch.Generator:
    """A generator on the CPU."""
    return torch.Generator().manual_seed(seed)


def actors(task: Task) -> tuple[int, ...]:
    """The axis of the environment's agents, where there are several."""
    return () if task.agents is None else (task.agents,)


def numbers(task: Task, seed: int = 1, batch: int = B) -> Tensor:
    """Random outputs of an agent, (batch, A), or (batch, P, A) for several agents of the environment."""
    return torch.randn(batch, *actors(task), task.action_space.size, generator=seeded(seed), dtype=task.dtype)


def action(task: Task, seed: int = 1) -> Tensor:
    """Random actions as a policy gives them: for a choice integers, which every such task takes."""
    given = numbers(task, seed)
    match task.action_space:
        case Continuous(low=low, high=high):
            return given.clamp(low, high)
        case MultiDiscrete(nvec=ns):
            return torch.stack([part.argmax(-1) for part in given.split(ns, -1)], -1)
        case _:
            return given.argmax(-1)


def actions(task: Task, seed: int = 0) -> list[Tensor]:
    """Random actions for a whole episode."""
    return [action(task, seed + t) for t in range(task.steps)]


def play(task: Task, actions: list[Tensor], seed: int = 0) -> Play:
    """The steps of an episode, and the state after each: [(state, step)], the reset first."""
    rng = seeded(seed)
    played = [task.reset(len(actions[0]), rng)]
    for given in actions:
        played.append(task.step(played[-1][0], given, rng))
    return played


def over(step: Step) -> Tensor:
    """Which episodes have ended, (B,): of several agents, all."""
    ended = step.terminated | step.truncated
    return ended if ended.dim() == 1 else ended.all(-1)


def same(a: Step, b: Step, rows: Any = slice(None)) -> None:
    """Raises ContractError unless two steps are equal in these rows, to the last bit."""
    equal(a.scores.keys(), b.scores.keys(), "scores")
    parts = [(name, getattr(a, name), getattr(b, name)) for name in a._fields if name != "scores"]
    parts += [(f"score {name!r}", a.scores[name], b.scores[name]) for name in a.scores]
    for name, x, y in parts:
        expect((x is None) == (y is None), f"{name} in both steps or in neither", (x, y))
        if x is not None:
            close(x[rows], y[rows], f"an equal {name}", rtol=0, atol=0, equal_nan=True)


def one_hot(task: Task, chosen: Tensor) -> Tensor:
    """Integers of a choice, or of several, as the one-hot vectors of each side by side."""
    assert isinstance(task.action_space, Discrete | MultiDiscrete)
    several = isinstance(task.action_space, MultiDiscrete)
    ns = task.action_space.nvec if isinstance(task.action_space, MultiDiscrete) else (task.action_space.n,)
    columns = chosen.unbind(-1) if several else (chosen,)
    hot = [torch.nn.functional.one_hot(column, n) for column, n in zip(columns, ns, strict=True)]
    return torch.cat(hot, -1).to(task.dtype)
