"""The contract of learners: `check_learner` and `LEARNER_PROPERTIES`."""

import math
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, ClassVar, TypeAlias
from unittest.mock import patch

import numpy as np
import torch
from torch import Tensor

from badger import act
from badger.act import ACTS
from badger.agent import Agent
from badger.evaluation.evaluate import evaluate
from badger.learners import host
from badger.learners.requirements import requirement
from badger.rng import drawing_from, generator, seeded_generator
from badger.sense import Broadcast
from badger.testing.contract import ContractError, Properties, by_name, check_all, equal, expect, line
from badger.testing.core.cases import through_a_file
from badger.testing.devices import FAKE, REAL, all_on_meta, without_values
from comms import Attention, Silent
from experts import CORES
from experts.torch_internals import outside_fake_tensors
from tasks import GuessingGame, RepeatPrevious, Step, Task

Make: TypeAlias = Callable[..., Any]  # (seed=0, agent=None) -> Learner
HIDDEN, MESSAGE, IDENTITY, EXPERTS = 6, 4, 3, 4


@dataclass(frozen=True)
class DetachedGame(GuessingGame):
    """A guessing game whose rewards carry no gradient."""

    differentiable: ClassVar[bool] = False

    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        return super().step(state, action.detach(), rng)


TASKS = (
    GuessingGame(4, 2, dtype=torch.float64),
    DetachedGame(4, 2, dtype=torch.float64),
    RepeatPrevious(5, 2, symbols=3, dtype=torch.float64),
)


def check_learner(
    factory: Callable[..., Any], tasks: Iterable[Task] = TASKS, *, properties: Collection[str] | None = None
) -> None:
    """Checks a learner against the contract, on each task that it supports.

    Args:
        factory: (agent, task, *, seed) -> learner, as in `badger.learners.LEARNERS`, with other options bound so that
            an update is fast. It is called once or more for each property. A learner from recorded episodes needs some
            of the task (`badger.learners.requirements`); they are best made once.
        tasks: small tasks in float64. A task that the learner refuses, with a ValueError that names the task's class,
            is skipped.
        properties: names out of `LEARNER_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came; or no task is
            supported.
        ValueError: an unknown property.
    """
    supported = [task for task in tasks if supports_task(factory, task)]
    if not supported:
        raise ContractError("supports_task: want a learner that supports one of the tasks, got one that refuses all")
    for task in supported:
        make = partial(make_learner, factory, task)
        check_all(LEARNER_PROPERTIES, make, properties)


def small_agent(task: Task) -> Agent:
    """An agent of four experts with episodic memory in float64, with the same parameters at each call."""
    with drawing_from(generator(0, "small agent")):
        bus, head = Attention(HIDDEN, MESSAGE), ACTS["mean"](HIDDEN, task.action_space.size)
        core = CORES["episodic"](task.obs_size + MESSAGE + IDENTITY, HIDDEN)
        sense = Broadcast(task.obs_size)
        return Agent(sense=sense, core=core, bus=bus, act=head, experts=EXPERTS, identity_size=IDENTITY).double()


def memoryless_agent(task: Task) -> Agent:
    """An agent of four experts without memory and communication in float64, with the same parameters at each call."""
    with drawing_from(generator(0, "memoryless agent")):
        core = CORES["feedforward"](task.obs_size + IDENTITY, HIDDEN)
        sense, head = Broadcast(task.obs_size), ACTS["mean"](HIDDEN, task.action_space.size)
        return Agent(
            sense=sense, core=core, bus=Silent(HIDDEN), act=head, experts=EXPERTS, identity_size=IDENTITY
        ).double()


def make_learner(factory: Callable[..., Any], task: Task, seed: int = 0, agent: Agent | None = None) -> Any:
    """A learner with a small agent; with a critic, or without memory, where the learner refuses another one."""
    agent = small_agent(task) if agent is None else agent
    try:
        return factory(agent, task, seed=seed)
    except ValueError as error:
        if "--core feedforward" in str(error):  # the advice to build the agent without memory
            return factory(memoryless_agent(task), task, seed=seed)
        if "act=act." not in str(error):  # the advice to build the agent with a critic
            raise
    agent.act = act.WithCritic(act.with_deviations(agent.act, task.action_space)).double()
    return factory(agent, task, seed=seed)


@line
def supports_task(factory: Callable[..., Any], task: Task) -> bool:
    """Whether the learner supports the task; if not, its constructor raises a ValueError that names the task."""
    try:
        learner = make_learner(factory, task)
    except ValueError as error:
        expect(type(task).__name__ in str(error), f"a refusal that names {type(task).__name__}", str(error))
        return False
    metrics = learner.update()
    expect(metrics["finite"], "a finite first update", metrics)
    return True


def copy_state(learner: Any) -> dict[str, Tensor]:
    """Copies of the agent's parameters and buffers by name."""
    return {name: part.detach().clone() for name, part in learner.agent.state_dict().items()}


def update(learner: Any) -> dict[str, Tensor]:
    """The metrics of an update, and the agent's parameters and buffers after it."""
    metrics = learner.update()
    values = {name: torch.as_tensor(metrics[name], dtype=torch.float64) for name in sorted(metrics)}
    return values | copy_state(learner)


def differences(first: dict[str, Tensor], second: dict[str, Tensor]) -> list[str]:
    """The names of the values that are not bitwise equal in two updates, or are in one of them only."""
    return [
        name for name in first.keys() | second.keys()
        if name not in first or name not in second
        or not torch.equal(first[name].nan_to_num(), second[name].nan_to_num())
    ]  # fmt: skip


@line
def an_update_returns_detached_metrics(make: Make) -> None:
    learner = make()
    metrics = learner.update()
    rng = torch.Generator().manual_seed(0)
    env_state, _ = learner.task.reset(2, rng)
    action = torch.zeros(2, learner.task.action_space.size, dtype=torch.float64)
    scores = learner.task.step(env_state, action, rng)[1].scores
    lived = ["data_return"] if requirement(learner, "needs_data") else list(scores)
    wanted = ["return", "episodes", "finite", *lived]
    expect(set(wanted) <= metrics.keys(), f"metrics {', '.join(wanted)}", list(metrics))
    for name, value in metrics.items():
        scalar = isinstance(value, float) or (isinstance(value, Tensor) and value.dim() == 0)
        expect(scalar, f"metric {name!r} a float or a tensor without axes", value)
        expect(not (isinstance(value, Tensor) and value.requires_grad), f"a detached metric {name!r}", value)
    expect(metrics["finite"], "finite", metrics["finite"])
    if requirement(learner, "needs_data"):
        expect(math.isnan(metrics["return"]) and metrics["episodes"] == 0, "a return NaN of 0 episodes", metrics)
        expect(torch.as_tensor(metrics["data_return"]).isfinite(), "a finite data_return", metrics["data_return"])
        return
    expect(torch.as_tensor(metrics["return"]).isfinite(), "a finite return", metrics["return"])
    if isinstance(learner.task, GuessingGame):
        expect(metrics["return"] <= 0, "a return of at most 0, minus the error of the game", metrics["return"])


@line
def the_eval_policy_evaluates_the_agent(make: Make) -> None:
    learner = make()
    rng = torch.Generator().manual_seed(0)
    for name, score in evaluate(learner.agent, learner.task, 3, rng, learner.eval_policy).items():
        expect(score.shape == (3,) and score.isfinite().all(), f"a finite {name!r} of each of 3 episodes", score)


@line
def an_update_changes_the_parameters(make: Make) -> None:
    learner = make()
    previous = copy_state(learner)
    learner.update()
    for name, current in learner.agent.named_parameters():
        expect(current.isfinite().all(), f"a finite {name}", current)
        changed = not current.requires_grad or not torch.equal(current, previous[name])  # some learn without gradient
        expect(changed, f"an update that changes {name}", "the same as before")
    expect(bool(differences(previous, copy_state(learner))), "an update that changes the agent", "the same as before")


@line
def an_update_increments_the_step(make: Make) -> None:
    learner = make()
    for steps in range(3):
        equal(learner.step, steps, "step")
        learner.update()


@line
def the_same_seed_gives_the_same_updates(make: Make) -> None:
    first, second = make(), make()
    for _ in range(3):
        equal(differences(update(first), update(second)), [], "differences of two learners with one seed")


@line
def another_seed_gives_other_updates(make: Make) -> None:
    expect(bool(differences(update(make()), update(make(seed=1)))), "other updates from another seed", "equal ones")


@line
def every_update_samples_new_episodes(make: Make) -> None:
    learner = make()
    name = "data_return" if requirement(learner, "needs_data") else "return"
    returns = {float(learner.update()[name]) for _ in range(4)}  # two returns may agree by chance, not four
    expect(len(returns) > 1, "updates on new episodes, with other returns", returns)


@line
def the_default_generator_is_not_used(make: Make) -> None:
    learner = make()
    before = torch.get_rng_state()
    learner.update()
    expect(torch.equal(torch.get_rng_state(), before), "torch's default generator unused", "a draw from it")


@line
def a_loaded_learner_continues_exactly(make: Make) -> None:
    learner = make()
    learner.update()
    learner.update()
    state = through_a_file(learner.state_dict())
    restored = make()
    restored.update()  # loading must also replace a state that is not the initial one
    restored.load_state_dict(state)
    equal((restored.step, learner.step), (2, 2), "steps")
    with drawing_from(seeded_generator(3)):  # another state of the default generator
        for _ in range(2):
            equal(differences(update(restored), update(learner)), [], "differences of the loaded and the saved learner")


@line
def a_state_of_another_agent_is_refused(make: Make) -> None:
    learner = make()
    state = rename_parameters(through_a_file(learner.state_dict()))
    try:
        make().load_state_dict(state)
    except (RuntimeError, ValueError, KeyError):
        return
    raise ContractError("want RuntimeError, ValueError or KeyError for a state of other parameters, got none")


class CountedAnswers:
    """Stands for `badger.learners.host.to_host` where tensors have no values, and counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self, tensor: Tensor) -> np.ndarray:
        """Of a mask (T, B): True but for the last step, so that episodes end there; of anything else: zeros."""
        self.calls += 1
        answer = np.zeros(tuple(tensor.shape), dtype=bool if tensor.dtype == torch.bool else np.int64)
        if tensor.dtype == torch.bool and tensor.dim() == 2:
            answer[:-1] = True
        return answer


def agent_of(make: Make) -> Agent:
    """The agent of a learner, with a critic where the learner needs one."""
    return make().agent


def updates_without_values(make: Make, agent: Agent, updates: int) -> int:
    """Makes updates of an agent on the meta device; how often the last one reads values on the host."""
    answers = CountedAnswers()
    with patch.object(host, "to_host", answers), patch.object(host, "on_host", outside_fake_tensors):
        learner = make(agent=agent)
        for _ in range(updates):
            answers.calls = 0
            metrics = learner.update()
    all_on_meta([value for value in metrics.values() if isinstance(value, Tensor)], "metrics")
    all_on_meta([parameter.grad for parameter in agent.parameters()], "gradients")
    return answers.calls


def host_reads(make: Make) -> int:
    """How often an update of a learner calls `badger.learners.host.to_host`.

    Args:
        make: (seed=0, agent=None) -> learner.

    Raises:
        ContractError: an update reads a value in another way, or makes a tensor on another device.
    """
    counts = []

    @without_values(agent_of, modes=[REAL])
    def an_update_runs_on_the_meta_device(make: Make, agent: Agent) -> None:
        counts.append(updates_without_values(make, agent, 2))  # the first one may fill a replay buffer

    an_update_runs_on_the_meta_device(make)
    return counts[0]


@line
def an_update_reads_values_on_the_host_at_most_once(make: Make) -> None:
    calls, allowed = host_reads(make), requirement(make(), "host_reads")
    expect(calls <= allowed, f"at most {allowed} calls of badger.learners.host.to_host in an update", calls)


@without_values(agent_of, modes=[FAKE])
def an_update_runs_under_fake_tensor_mode(make: Make, agent: Agent) -> None:
    updates_without_values(make, agent, 1)


def rename_parameters(state: Any) -> Any:
    """The state of a learner, or of several members, with other names of the agents' parameters."""
    if isinstance(state, list):
        return [rename_parameters(part) for part in state]
    if not isinstance(state, dict):
        return state
    if "agent" not in state:
        return {name: rename_parameters(part) for name, part in state.items()}
    return state | {"agent": {name + "_": value for name, value in state["agent"].items()}}


LEARNER_PROPERTIES: Properties = by_name(
    an_update_returns_detached_metrics,
    the_eval_policy_evaluates_the_agent,
    an_update_changes_the_parameters,
    an_update_increments_the_step,
    the_same_seed_gives_the_same_updates,
    another_seed_gives_other_updates,
    every_update_samples_new_episodes,
    the_default_generator_is_not_used,
    a_loaded_learner_continues_exactly,
    a_state_of_another_agent_is_refused,
    an_update_reads_values_on_the_host_at_most_once,
    an_update_runs_under_fake_tensor_mode,
)
"""The properties of learners by name, each a function of a factory (seed=0, agent=None) -> learner."""
