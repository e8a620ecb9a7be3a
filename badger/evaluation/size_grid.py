"""Generalization over sizes: scores and state norms of an agent on a grid of sizes beyond those of its training.

Shapes: B episode, E expert.
"""

import copy
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import product
from math import sqrt
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.evaluation.batches import cap_episodes, check_memory
from badger.evaluation.evaluate import evaluate, replace_fields
from badger.evaluation.published import published_error
from badger.policies.policies import Policy, identity_policy
from badger.rng import generator
from experts import EpisodicMemory
from tasks import Task

AXES = ("experts", "dims", "steps", "slots")
MAX_TOTAL_EXPERTS = 2**17  # in all episodes of a cell
MIN_EPISODES = 4  # whatever the number of experts

SizeSetting = dict[str, int | None]
"""Sizes by axis; None where the agent or the task has no such size."""


class GridCell(NamedTuple):
    """The result of one combination of sizes; of a failed one, numbers are NaN and `failure` is the error.

    Args:
        experts: number of experts.
        dims: outputs of the task.
        steps: length of an episode.
        slots: of each episodic memory.
        episodes: number of episodes.
        mean: of the task's score over episodes; not finite if one of them is not.
        sem: standard error of the mean.
        ci_low: lower end of the normal 95 % confidence interval.
        ci_high: upper end.
        max_state_norm: largest Euclidean norm of an expert's output or part of its recurrent state, over all steps.
        nonfinite_fraction: fraction of episodes with a state, output or score that is not finite.
        published: result of others for these sizes; see `badger.evaluation.published`.
        failure: first line of the error.
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
    """Evaluates an agent at every combination of sizes; sizes that are not given are those of training.

    Episodes of a cell are sampled from a stream derived from the seed of `rng` and the sizes, so that a cell has the
    same result in every grid. A cell that fails holds its error. The agent is not modified.

    Args:
        agent: the agent.
        task: the task.
        experts: numbers of experts.
        dims: numbers of outputs of the task.
        steps: lengths of an episode.
        slots: slots of each episodic memory (`with_slots`).
        episodes: in each cell; fewer with very many experts.
        rng: on the agent's device; gives the seed and is not advanced.
        policy: from outputs to actions, as in training.

    Raises:
        ValueError: episodes < 1; sizes that the task or agent does not have.
    """
    cells = check_sizes(agent, task, episodes, {"experts": experts, "dims": dims, "steps": steps, "slots": slots})
    return list(iter_grid_cells(agent, task, cells, episodes=episodes, rng=rng, policy=policy))


def iter_grid_cells(
    agent: Agent,
    task: Task,
    cells: Iterable[SizeSetting],
    *,
    episodes: int,
    rng: torch.Generator,
    policy: Policy = identity_policy,
) -> Iterator[GridCell]:
    """The cells of `evaluate_grid`, one by one.

    Args:
        agent: the agent.
        task: the task.
        cells: from `check_sizes`.
        episodes: in each cell.
        rng: as in `evaluate_grid`.
        policy: as in `evaluate_grid`.
    """
    for cell in cells:
        yield _cell(agent, task, cell, episodes, rng, policy)


def check_sizes(agent: Agent, task: Task, episodes: int, sizes: Mapping[str, Sequence[int]]) -> list[SizeSetting]:
    """The cells of a grid. Numbers of experts that the agent's parts refuse are found when their cell is evaluated.

    Args:
        agent: the agent.
        task: the task.
        episodes: in each cell.
        sizes: experts, dims, steps and slots, as in `evaluate_grid`.

    Raises:
        ValueError: a number below 1, sizes that the task or agent does not have, or that do not fit into the memory of
            the device.
    """
    trained = training_sizes(agent, task)
    for axis, values in sizes.items():
        if trained[axis] is None and values:
            raise ValueError(f"{axis}={list(values)}, but {_lacking(axis, task)}: leave {axis} out")
    for name, values in {**sizes, "episodes": [episodes]}.items():
        if any(value < 1 for value in values):
            raise ValueError(f"{name}={tuple(values) if len(values) > 1 else values[0]}, want at least 1")
    combinations = product(*(dict.fromkeys(sizes.get(axis) or [trained[axis]]) for axis in AXES))  # type: ignore[list-item]
    cells = [dict(zip(AXES, cell, strict=True)) for cell in combinations]
    for cell in cells:
        _check_memory(agent, task, cell, episodes)
    return cells


def _check_memory(agent: Agent, task: Task, cell: SizeSetting, episodes: int) -> None:
    experts = cell["experts"] or 1
    try:
        task, agent = replace_fields(task, dims=cell["dims"], steps=cell["steps"]), _resized(agent, task, cell["slots"])
    except ValueError:  # sizes that the task refuses: the cell itself has the error
        return
    check_memory(agent, task, _num_episodes(episodes, experts), experts=experts)


def _num_episodes(episodes: int, experts: int) -> int:
    return max(min(MIN_EPISODES, episodes), cap_episodes(episodes, experts, MAX_TOTAL_EXPERTS))


def _resized(agent: Agent, task: Task, slots: int | None) -> Agent:
    """The agent with so many slots; itself where it has as many."""
    return agent if slots == training_sizes(agent, task)["slots"] else with_slots(agent, slots or 0)


def training_sizes(agent: Agent, task: Task) -> SizeSetting:
    """The sizes of training.

    Args:
        agent: the agent.
        task: the task.
    """
    slots = next((memory.slots for memory in _memories(agent)), None)
    return {"experts": agent.experts, "dims": getattr(task, "dims", None), "steps": task.steps, "slots": slots}


def with_slots(agent: Agent, slots: int) -> Agent:
    """A copy of an agent with another number of slots in each of its episodic memories, private or shared.

    Args:
        agent: the agent, which is not modified.
        slots: of each store.

    Raises:
        ValueError: the agent has no episodic memory; slots < 1.
    """
    agent = copy.deepcopy(agent)
    memories = _memories(agent)
    if not memories:
        raise ValueError(f"slots={slots}, but the agent has no episodic memory: leave slots out")
    for memory in memories:
        memory.resize(slots)
    return agent


class NormTracker:
    """Maximum state norm of each episode: `start` before its first step, `update` after each step."""

    def __init__(self) -> None:
        self.parts: list[Float[Tensor, " B"]] = []

    def start(self, state: AgentState) -> AgentState:
        """Starts a batch of episodes, and returns the state unchanged.

        Args:
            state: the initial state.
        """
        self.parts.append(state.y.new_zeros(len(state.y), dtype=torch.double))
        return state

    def update(self, state: AgentState) -> None:
        """Updates the maximum.

        Args:
            state: after a step.
        """
        for leaf in (state.y, *_numbers(state.core)):
            self.parts[-1] = torch.maximum(self.parts[-1], _norm(leaf))  # maximum propagates NaN

    def result(self) -> Float[Tensor, " episodes"]:
        """The maximum norm of each episode."""
        return torch.cat(self.parts)


def _cell(
    agent: Agent, task: Task, sizes: SizeSetting, episodes: int, rng: torch.Generator, policy: Policy
) -> GridCell:
    experts, norms = sizes["experts"], NormTracker()
    assert experts is not None
    episodes = _num_episodes(episodes, experts)
    cell, published = GridCell(**sizes, episodes=episodes), None  # type: ignore[arg-type]
    try:
        task = replace_fields(task, dims=sizes["dims"], steps=sizes["steps"])
        published = published_error(task, experts)
        resized = _resized(agent, task, sizes["slots"])
        cell_rng = generator(rng.initial_seed(), f"grid {list(sizes.values())}", device=rng.device)
        scores = evaluate(
            resized, task, episodes, cell_rng, policy, experts=experts, modify_state=norms.start, hook=norms.update
        )
    except (ValueError, IndexError, RuntimeError, MemoryError) as error:  # out of memory is a RuntimeError in torch
        return cell._replace(failure=str(error).split("\n")[0] or type(error).__name__, published=published)
    return cell._replace(published=published, **_statistics(scores[task.score].double(), norms.result()))


def _statistics(score: Tensor, norms: Tensor) -> dict[str, Any]:
    mean = score.mean().item()
    sem = score.std().item() / sqrt(len(score)) if len(score) > 1 else math.nan
    nonfinite = ~(score.isfinite() & norms.isfinite())
    return {
        "mean": mean, "sem": sem, "ci_low": mean - 1.96 * sem, "ci_high": mean + 1.96 * sem,
        "max_state_norm": norms.max().item(), "nonfinite_fraction": nonfinite.double().mean().item(),
    }  # fmt: skip


def _memories(agent: Agent) -> list[EpisodicMemory]:
    return [module for module in agent.core.modules() if isinstance(module, EpisodicMemory)]


def _numbers(state: Any) -> Iterator[Tensor]:
    """The floating-point tensors of a state; the rows of an append-only memory, earlier states, are skipped."""
    if isinstance(state, tuple):
        for part in state:
            yield from _numbers(part)
    elif isinstance(state, Tensor) and state.is_floating_point():
        yield state


def _norm(leaf: Float[Tensor, "B *_"]) -> Float[Tensor, " B"]:
    """The maximum norm over axis 1 (experts); in float64, in which squares do not overflow."""
    if leaf.dim() < 3:
        leaf = leaf.reshape(len(leaf), -1, 1)
    return torch.linalg.vector_norm(leaf.flatten(2), dim=-1, dtype=torch.double).amax(1)


def _lacking(axis: str, task: Task) -> str:
    return "the agent has no episodic memory" if axis == "slots" else f"{type(task).__name__} has no {axis}"
