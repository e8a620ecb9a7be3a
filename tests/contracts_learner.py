"""What every learner must do, given a factory (agent, task, **options) -> Learner."""

import io
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from torch import Tensor

from badger import GuessingGame, RepeatPrevious, act, evaluate
from tasks import Continuous
from toys import seeded, toy_agent


@dataclass(frozen=True)
class Blind(GuessingGame):
    """A guessing game whose rewards are numbers without gradient."""

    differentiable: ClassVar[bool] = False

    def step(self, state, action, rng):
        return super().step(state, action.detach(), rng)


TASKS = (
    GuessingGame(4, 2, dtype=torch.float64),
    Blind(4, 2, dtype=torch.float64),
    RepeatPrevious(5, 2, symbols=3, dtype=torch.float64),
)


def check_learner(make, tasks=TASKS):
    """All the properties below, on each task that the learner takes."""
    taken = [task for task in tasks if takes_or_refuses(make, task)]
    assert taken, "the learner refuses every task"
    for task in taken:
        for check in CHECKS:
            check(lambda seed=0, task=task: learner_of(make, task, seed))


def learner_of(make, task, seed=0):
    """An agent that gives no value is refused by those who want one, and they say how to mend it: so it is mended."""
    agent = toy_agent(task, core="episodic")
    try:
        return make(agent, task, seed=seed)
    except ValueError as error:
        if "act=act.Valued(" not in str(error):
            raise
    port = act.Gaussian(agent.act) if isinstance(task.action, Continuous) else agent.act
    agent.act = act.Valued(port).double()
    return make(agent, task, seed=seed)


def takes_or_refuses(make, task):
    """Whether the learner takes the task; what it cannot learn it refuses at once, and names."""
    try:
        learner = learner_of(make, task)
    except ValueError as error:
        assert type(task).__name__ in str(error)
        return False
    assert learner.update()["finite"]
    return True


def parameters(learner):
    return [p.detach().clone() for p in learner.agent.parameters()]


def same(ours, theirs):
    return all(torch.equal(a, b) for a, b in zip(ours, theirs, strict=True))


def update(learner):
    """All that an update gives, in an order of its own."""
    metrics = learner.update()
    return [torch.as_tensor(metrics[name], dtype=torch.float64) for name in sorted(metrics)] + parameters(learner)


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def an_update_tells_detached_numbers(make):
    learner = make()
    metrics = learner.update()
    world, _ = learner.task.reset(2, seeded())
    names = learner.task.step(world, torch.zeros(2, learner.task.action.size, dtype=torch.float64), seeded())[1].scores
    assert {"return", "finite", *names} <= metrics.keys()
    for name, value in metrics.items():
        assert isinstance(value, float) or (isinstance(value, Tensor) and value.dim() == 0), name
        assert not (isinstance(value, Tensor) and value.requires_grad), name
    assert metrics["finite"]
    assert torch.as_tensor(metrics["return"]).isfinite()
    if isinstance(learner.task, GuessingGame):
        assert metrics["return"] <= 0  # as the errors of the game are: higher is better; 0 before the last guess


def a_learner_tells_how_its_agent_acts(make):
    learner = make()
    scores = evaluate(learner.agent, learner.task, 3, seeded(), learner.policy)
    assert all(score.shape == (3,) and score.isfinite().all() for score in scores.values())


def an_update_changes_the_parameters(make):
    learner = make()
    before = parameters(learner)
    learner.update()
    after = parameters(learner)
    assert not any(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.isfinite().all() for p in after)


def an_update_is_a_step(make):
    learner = make()
    assert learner.step == 0
    learner.update()
    learner.update()
    assert learner.step == 2


def the_same_seed_gives_the_same_updates(make):
    one, other = make(), make()
    for _ in range(3):
        assert same(update(one), update(other))


def another_seed_gives_other_updates(make):
    assert not same(update(make()), update(make(seed=1)))


def every_update_plays_new_episodes(make):
    learner = make()
    returns = {float(learner.update()["return"]) for _ in range(4)}  # two of choices that are right or not may agree
    assert len(returns) > 1


def the_default_generator_is_left_alone(make):
    learner = make()
    before = torch.get_rng_state()
    learner.update()
    assert torch.equal(torch.get_rng_state(), before)


def a_loaded_state_goes_on_as_if_nothing_had_been(make):
    learner = make()
    learner.update()
    learner.update()
    state = through_a_file(learner.state_dict())
    torch.rand(3)  # the default generator stands elsewhere
    restored = make()
    restored.update()  # it has a past of its own
    restored.load_state_dict(state)
    assert restored.step == learner.step == 2
    assert same(parameters(restored), parameters(learner))
    for _ in range(2):
        assert same(update(restored), update(learner))


def a_state_of_another_agent_is_refused(make):
    learner = make()
    state = renamed(through_a_file(learner.state_dict()))
    with pytest.raises((RuntimeError, ValueError, KeyError)):
        make().load_state_dict(state)


def renamed(state):
    """The state of a learner, or of several within, whose agents' parameters have other names."""
    if isinstance(state, list):
        return [renamed(part) for part in state]
    if not isinstance(state, dict):
        return state
    if "agent" not in state:
        return {name: renamed(part) for name, part in state.items()}
    return state | {"agent": {name + "_": value for name, value in state["agent"].items()}}


CHECKS = (
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
