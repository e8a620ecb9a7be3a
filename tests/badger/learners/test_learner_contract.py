"""Every registered learner keeps the contract on each task that it supports; broken learners do not."""

from functools import cache, partial

import pytest

from badger import BPTT, DRQN, LEARNERS, PPO, R2D2
from badger.testing import LEARNER_PROPERTIES, ContractError, check_learner
from badger.testing.learner import TASKS, make_learner, supports_task

REPLAY = {"batch": 4, "horizon": 5, "gradient_steps": 1, "replay_batch": 4, "prefill": 4}
QUICK = {
    "ppo": partial(PPO, batch=4, horizon=5, sequence_length=4, epochs=1, minibatches=2),
    "drqn": partial(DRQN, **REPLAY),
    "r2d2": partial(R2D2, **REPLAY),
}
MAKE = {**LEARNERS, **QUICK}
ON = {f"{type(task).__name__} {task.steps}": task for task in TASKS}


@cache
def supported(name: str) -> list[str]:
    """The tasks that a learner supports."""
    return [title for title, task in ON.items() if supports_task(MAKE[name], task)]


@pytest.mark.parametrize("name", MAKE)
def test_every_learner_supports_a_task_and_names_those_it_refuses(name):
    assert supported(name)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("holds", LEARNER_PROPERTIES)
def test_every_learner_keeps_the_contract(name, holds):
    for title in supported(name):
        LEARNER_PROPERTIES[holds](lambda seed=0, task=ON[title]: make_learner(MAKE[name], task, seed))


class Frozen(BPTT):
    def update(self):
        before = {name: p.detach().clone() for name, p in self.agent.named_parameters()}
        metrics = super().update()
        self.agent.load_state_dict(before, strict=False)
        return metrics


class Attached(BPTT):
    def update(self):
        return super().update() | {"weight": next(self.agent.parameters()).sum()}


@pytest.mark.parametrize(
    ("learner", "holds"),
    [(Frozen, "an_update_changes_the_parameters"), (Attached, "an_update_returns_detached_metrics")],
)
def test_the_contract_catches_a_broken_learner(learner, holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        check_learner(learner, properties=[holds])


def test_a_learner_that_supports_no_task_fails_the_contract():
    with pytest.raises(ContractError, match="want a learner that supports one of the tasks, got one that refuses all"):
        check_learner(BPTT, [TASKS[1]])
