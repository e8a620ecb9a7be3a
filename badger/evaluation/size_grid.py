"""How far an agent generalises: evaluated at sizes far from those of its training, with its states watched.

Shapes: B episode, E expert.
"""

import copy
import math
from collections.abc import Iterator, Sequence
from itertools import product
from math import sqrt
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.evaluation.evaluate import cap_episodes, evaluate, replace_fields
from badger.evaluation.published import published_error
from badger.policies.policies import Policy, identity_policy
from badger.rng import generator
from experts import EpisodicMemory
from tasks import Task

AXES = ("experts", "dims", "steps", "slots")
MAX_TOTAL_EXPERTS = 2**17  # experts in the episodes of a cell, at most
MIN_EPISODES = 4  # episodes, however many the experts

SizeSetting = dict[str, int | None]  # by axis; None where the agent or the task has no such thing


class GridCell(NamedTuple):
    """One cell of a grid. Numbers of a cell that could not be are NaN, and `failure` says why.

    mean, sem, ci_low, ci_high: of the task's score over episodes, its standard error and 95 % interval (normal). An
    episode whose score is not finite is among them, so that they are then not finite either.
    max_state_norm: the largest Euclidean norm of what one expert put out, or of a part of its recurrent state, at any step.
    nonfinite_fraction: the share of episodes in which such a state, an output, or the score was not finite.
    published: by others, for these sizes; see `badger.evaluation.published`.
    """

    experts: int
    dims: int | None
    steps: int | None
    slots: int | None
    episodes: int
    mean: float = math.nan
    sem: float = math.nan
    ci_low: float = math.nan
    ci_high: float = math.nan
    max_state_norm: float = math.nan
    nonfinite_fraction: float = math.nan
    published: float | None = None
    failure: str = ""


def evaluate_grid(
    agent: Agent,
    task: Task,
    *,
    experts: Sequence[int] = (),
    dims: Sequence[int] = (),
    steps: Sequence[int] = (),
    slots: Sequence[int] = (),
    episodes: int = 1024,
    rng: torch.Generator,
    policy: Policy = identity_policy,
) -> list[GridCell]:
    """Every combination of the sizes; those not given are as trained. The agent is left as it was.

    Each cell has its own stream of episodes, which follows from rng's seed and the cell's sizes alone: a cell gives the
    same numbers in any grid. A cell that cannot be says so.

    Args:
        experts: how many. dims: outputs of the task. steps: inner steps. slots: of each episodic memory, see
            `with_slots`.
        episodes: in each cell; fewer of very many experts.
        rng: on the agent's device; nothing is drawn from it.
        policy: how the agent acts; that of the learner which has trained it.

    Raises:
        ValueError: no episodes; sizes that the task or agent does not have.
    """
    asked = {"experts": experts, "dims": dims, "steps": steps, "slots": slots}
    return list(iter_grid_cells(agent, task, episodes=episodes, rng=rng, policy=policy, **asked))


def iter_grid_cells(
    agent: Agent,
    task: Task,
    *,
    episodes: int,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    **asked: Sequence[int],
) -> Iterator[GridCell]:
    """The cells of a grid as they come; the arguments are those of `evaluate_grid`."""
    if episodes < 1:
        raise ValueError(f"episodes={episodes}, want at least 1")
    trained = training_sizes(agent, task)
    for axis in AXES:
        if trained[axis] is None and asked.get(axis):
            raise ValueError(f"{axis}={list(asked[axis])}, but {_lacking(axis, task)}: leave {axis} out")
    for cell in product(*(dict.fromkeys(asked.get(axis) or [trained[axis]]) for axis in AXES)):  # type: ignore[list-item]
        yield _cell(agent, task, dict(zip(AXES, cell, strict=True)), episodes, rng, policy)


def training_sizes(agent: Agent, task: Task) -> SizeSetting:
    """Those of the training."""
    slots = next((memory.slots for memory in _memories(agent)), None)
    return {"experts": agent.experts, "dims": getattr(task, "dims", None), "steps": task.steps, "slots": slots}


def with_slots(agent: Agent, slots: int) -> Agent:
    """A copy of the agent whose episodic memories, private or shared, have so many slots in a store.

    Raises ValueError where it has no such memory, or slots < 1.
    """
    agent = copy.deepcopy(agent)
    memories = _memories(agent)
    if not memories:
        raise ValueError(f"slots={slots}, but the agent has no episodic memory: leave slots out")
    for memory in memories:
        memory.resize(slots)
    return agent


class NormTracker:
    """The largest norm in each episode, over all steps: `start` before the first one, then `update` after each."""

    def __init__(self) -> None:
        self.parts: list[Float[Tensor, " B"]] = []

    def start(self, state: AgentState) -> AgentState:
        self.parts.append(state.y.new_zeros(len(state.y), dtype=torch.double))
        return state

    def update(self, state: AgentState) -> None:
        for leaf in (state.y, *_numbers(state.core)):
            self.parts[-1] = torch.maximum(self.parts[-1], _norm(leaf))  # which hands NaN on

    def result(self) -> Float[Tensor, " episodes"]:
        return torch.cat(self.parts)


def _cell(agent: Agent, task: Task, at: SizeSetting, episodes: int, rng: torch.Generator, policy: Policy) -> GridCell:
    count = at["experts"]
    assert count is not None
    many, watch = max(min(MIN_EPISODES, episodes), cap_episodes(episodes, count, MAX_TOTAL_EXPERTS)), NormTracker()
    row, beside = GridCell(**at, episodes=many), None  # type: ignore[arg-type]
    try:
        task = replace_fields(task, dims=at["dims"], steps=at["steps"])
        beside = published_error(task, count)
        player = agent if at["slots"] == training_sizes(agent, task)["slots"] else with_slots(agent, at["slots"] or 0)
        own = generator(rng.initial_seed(), f"grid {list(at.values())}", device=rng.device)
        scores = evaluate(player, task, many, own, policy, experts=count, modify_state=watch.start, hook=watch.update)
    except (ValueError, IndexError, RuntimeError, MemoryError) as problem:  # torch tells of lacking memory by the third
        return row._replace(failure=str(problem).split("\n")[0] or type(problem).__name__, published=beside)
    return row._replace(published=beside, **_measured(scores[task.score].double(), watch.result()))


def _measured(score: Tensor, norms: Tensor) -> dict[str, Any]:
    mean, spread = score.mean().item(), math.nan
    if len(score) > 1:
        spread = score.std().item() / sqrt(len(score))
    bad = ~(score.isfinite() & norms.isfinite())
    return {
        "mean": mean, "error": spread, "low": mean - 1.96 * spread, "high": mean + 1.96 * spread,
        "norm": norms.max().item(), "bad": bad.double().mean().item(),
    }  # fmt: skip


def _memories(agent: Agent) -> list[EpisodicMemory]:
    return [module for module in agent.core.modules() if isinstance(module, EpisodicMemory)]


def _numbers(state: Any) -> Iterator[Tensor]:
    """The tensors of numbers in a state; a log holds nothing but what experts were, and is passed over."""
    if isinstance(state, tuple):
        for part in state:
            yield from _numbers(part)
    elif isinstance(state, Tensor) and state.is_floating_point():
        yield state


def _norm(leaf: Float[Tensor, "B *_"]) -> Float[Tensor, " B"]:
    """The largest of an episode's experts (or other members of axis 1); in float64, where squares do not overflow."""
    if leaf.dim() < 3:
        leaf = leaf.reshape(len(leaf), -1, 1)
    return torch.linalg.vector_norm(leaf.flatten(2), dim=-1, dtype=torch.double).amax(1)


def _lacking(axis: str, task: Task) -> str:
    return "the agent has no episodic memory" if axis == "slots" else f"{type(task).__name__} has no {axis}"
