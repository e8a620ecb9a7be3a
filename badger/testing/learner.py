"""What every learner must hold: `check_learner` and `LEARNER_PROPERTIES`."""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, TypeAlias

import torch
from torch import Tensor

from badger import act
from badger.act import ACTS
from badger.agent import Agent
from badger.evaluation.evaluate import evaluate
from badger.rng import drawing_from, generator
from badger.sense import Broadcast
from badger.testing.contract import ContractError, Properties, by_name, check_all, equal, expect, line
from badger.testing.core.cases import through_a_file
from comms import Attention
from experts import CORES
from tasks import Continuous, GuessingGame, RepeatPrevious, Step, Task

Make: TypeAlias = Callable[..., Any]  # (seed=0) -> Learner
HIDDEN, MESSAGE, IDENTITY, EXPERTS = 6, 4, 3, 4


@dataclass(frozen=True)
class Blind(GuessingGame):
    """A guessing game whose rewards are numbers without gradient."""

    differentiable: ClassVar[bool] = False

    def step(self, state: Any, action: Tensor, rng: torch.Generator) -> tuple[Any, Step]:
        return super().step(state, action.detach(), rng)


TASKS = (
    GuessingGame(4, 2, dtype=torch.float64),
    Blind(4, 2, dtype=torch.float64),
    RepeatPrevious(5, 2, symbols=3, dtype=torch.float64),
)


def check_learner(
    factory: Callable[..., Any], tasks: Iterable[Task] = TASKS, *, properties: Collection[str] | None = None
) -> None:
    """Checks a learner against the contract, on each of the tasks that it takes.

    Args:
        factory: (agent, task, *, seed) -> learner, as in `badger.learners.LEARNERS`; other options bound, so that an
            update is quick. It is called once or more for each property.
        tasks: small ones in float64. Those that the learner refuses, by a ValueError that names the task's class, are
            left out.
        properties: names out of `LEARNER_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came; or no task is taken.
        ValueError: a name that is no property.
    """
    taken = [task for task in tasks if takes_or_refuses(factory, task)]
    if not taken:
        raise ContractError("takes_or_refuses: want a learner that takes one of the tasks, got one that refuses all")
    for task in taken:
        check_all(LEARNER_PROPERTIES, lambda seed=0, task=task: learner_of(factory, task, seed), properties)


def small_agent(task: Task) -> Agent:
    """Four experts with episodic memory in float64; its parameters are the same at each call."""
    with drawing_from(generator(0, "small agent")):
        bus, port = Attention(HIDDEN, MESSAGE), ACTS["mean"](HIDDEN, task.action_space.size)
        core = CORES["episodic"](task.obs_size + MESSAGE + IDENTITY, HIDDEN)
        sense = Broadcast(task.obs_size)
        return Agent(sense=sense, core=core, bus=bus, act=port, experts=EXPERTS, identity_size=IDENTITY).double()


def learner_of(make: Callable[..., Any], task: Task, seed: int = 0) -> Any:
    """A learner with a small agent; where the learner refuses one without a value, the agent gets a critic."""
    agent = small_agent(task)
    try:
        return make(agent, task, seed=seed)
    except ValueError as error:
        if "act=act.Valued(" not in str(error):
            raise
    port = act.Gaussian(agent.act) if isinstance(task.action_space, Continuous) else agent.act
    agent.act = act.WithCritic(port).double()
    return make(agent, task, seed=seed)


@line
def takes_or_refuses(make: Callable[..., Any], task: Task) -> bool:
    """Whether the learner takes the task; what it cannot learn it refuses at once, and names."""
    try:
        learner = learner_of(make, task)
    except ValueError as error:
        expect(type(task).__name__ in str(error), f"a refusal that names {type(task).__name__}", str(error))
        return False
    metrics = learner.update()
    expect(metrics["finite"], "a finite first update", metrics)
    return True


def parameters(learner: Any) -> list[Tensor]:
    """Copies of the agent's parameters."""
    return [p.detach().clone() for p in learner.agent.parameters()]


def update(learner: Any) -> dict[str, Tensor]:
    """All that an update gives: metrics, and the agent's parameters after it."""
    metrics = learner.update()
    given = {name: torch.as_tensor(metrics[name], dtype=torch.float64) for name in sorted(metrics)}
    return given | {name: p.detach().clone() for name, p in learner.agent.named_parameters()}


def differing(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> list[str]:
    """Names of what two updates do not agree in, to the last bit."""
    return [
        name for name in ours.keys() | theirs.keys()
        if name not in ours or name not in theirs or not torch.equal(ours[name].nan_to_num(), theirs[name].nan_to_num())
    ]  # fmt: skip


@line
def an_update_tells_detached_numbers(make: Make) -> None:
    learner = make()
    metrics = learner.update()
    rng = torch.Generator().manual_seed(0)
    world, _ = learner.task.reset(2, rng)
    names = learner.task.step(world, torch.zeros(2, learner.task.action.size, dtype=torch.float64), rng)[1].scores
    expect({"return", "finite", *names} <= metrics.keys(), f"metrics return, finite, {', '.join(names)}", list(metrics))
    for name, value in metrics.items():
        number = isinstance(value, float) or (isinstance(value, Tensor) and value.dim() == 0)
        expect(number, f"metric {name!r} a float or a tensor without axes", value)
        expect(not (isinstance(value, Tensor) and value.requires_grad), f"a detached metric {name!r}", value)
    expect(metrics["finite"], "finite", metrics["finite"])
    expect(torch.as_tensor(metrics["return"]).isfinite(), "a finite return", metrics["return"])
    if isinstance(learner.task, GuessingGame):
        expect(metrics["return"] <= 0, "a return of at most 0, minus the error of the game", metrics["return"])


@line
def a_learner_tells_how_its_agent_acts(make: Make) -> None:
    learner = make()
    rng = torch.Generator().manual_seed(0)
    for name, score in evaluate(learner.agent, learner.task, 3, rng, learner.policy).items():
        expect(score.shape == (3,) and score.isfinite().all(), f"a finite {name!r} of each of 3 episodes", score)


@line
def an_update_changes_the_parameters(make: Make) -> None:
    learner = make()
    before = parameters(learner)
    learner.update()
    for (name, after), old in zip(learner.agent.named_parameters(), before, strict=True):
        expect(after.isfinite().all(), f"a finite {name}", after)
        expect(not torch.equal(after, old), f"an update that changes {name}", "the same as before")


@line
def an_update_is_a_step(make: Make) -> None:
    learner = make()
    for steps in range(3):
        equal(learner.step, steps, "step")
        learner.update()


@line
def the_same_seed_gives_the_same_updates(make: Make) -> None:
    one, other = make(), make()
    for _ in range(3):
        equal(differing(update(one), update(other)), [], "differences of two learners with one seed")


@line
def another_seed_gives_other_updates(make: Make) -> None:
    expect(bool(differing(update(make()), update(make(seed=1)))), "other updates from another seed", "equal ones")


@line
def every_update_plays_new_episodes(make: Make) -> None:
    learner = make()
    returns = {float(learner.update()["return"]) for _ in range(4)}  # two of choices that are right or not may agree
    expect(len(returns) > 1, "updates on new episodes, with other returns", returns)


@line
def the_default_generator_is_left_alone(make: Make) -> None:
    learner = make()
    before = torch.get_rng_state()
    learner.update()
    expect(torch.equal(torch.get_rng_state(), before), "torch's default generator left alone", "a draw from it")


@line
def a_loaded_state_goes_on_as_if_nothing_had_been(make: Make) -> None:
    learner = make()
    learner.update()
    learner.update()
    state = through_a_file(learner.state_dict())
    restored = make()
    restored.update()  # it has a past of its own
    restored.load_state_dict(state)
    equal((restored.step, learner.step), (2, 2), "steps")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)  # the default generator stands elsewhere
        for _ in range(2):
            equal(differing(update(restored), update(learner)), [], "differences of the loaded learner and the saved")


@line
def a_state_of_another_agent_is_refused(make: Make) -> None:
    learner = make()
    state = renamed(through_a_file(learner.state_dict()))
    try:
        make().load_state_dict(state)
    except (RuntimeError, ValueError, KeyError):
        return
    raise ContractError("want RuntimeError, ValueError or KeyError for a state of other parameters, got none")


def renamed(state: Any) -> Any:
    """The state of a learner, or of several within, whose agents' parameters have other names."""
    if isinstance(state, list):
        return [renamed(part) for part in state]
    if not isinstance(state, dict):
        return state
    if "agent" not in state:
        return {name: renamed(part) for name, part in state.items()}
    return state | {"agent": {name + "_": value for name, value in state["agent"].items()}}


LEARNER_PROPERTIES: Properties = by_name(
    an_update_tells_detached_numbers,
    a_learner_tells_how_its_agent_acts,
    an_update_changes_the_parameters,
    an_update_is_a_step,
    the_same_seed_gives_the_same_updates,
    another_seed_gives_other_updates,
    every_update_plays_new_episodes,
    the_default_generator_is_left_alone,
    a_loaded_state_goes_on_as_if_nothing_had_been,
    a_state_of_another_agent_is_refused,
)
"""The contract of learners, by the names of its lines. Each takes a function (seed=0) -> learner."""
