"""Every registered learner keeps the contract on each task that it supports; broken learners do not."""

from functools import cache, partial

import pytest

from badger import BPTT, DQN, DRQN, LEARNERS, PPO, R2D2, Agent, act
from badger.learners import (
    EMDQN,
    MFEC,
    NEC,
    BehaviorCloning,
    DecisionTransformerLearner,
    Dreamer,
    Evolution,
    PercentBC,
    WorldModels,
    host,
)
from badger.learners.offline.generalized_dt import GeneralizedDTLearner
from badger.learners.offline.step_layout import step_layout
from badger.learners.offline.trajectory_transformer import TrajectoryTransformerLearner
from badger.rng import drawing_from, generator
from badger.sense import Broadcast
from badger.testing import LEARNER_PROPERTIES, ContractError, check_learner
from badger.testing.learner import TASKS, host_reads, make_learner, supports_task
from comms import Silent
from experts import CORES, MDNRNN, RSSM, GeneralizedDT, TrajectoryTransformer
from recorded import random_episodes
from tasks import PreviousActionReward

REPLAY = {"batch": 4, "horizon": 5, "gradient_steps": 1, "replay_batch": 4, "prefill": 4}


def offline(learner, agent, task, **options):
    """A learner from a few random episodes of the task."""
    return learner(agent, task, data=random_episodes(task, 12), **options)


def return_conditioned(agent, task, **options):
    """A Decision Transformer, with an agent of its own unless it is given one, which observes what it did before."""
    wrapped, data = PreviousActionReward(task), random_episodes(task, 12)
    if not hasattr(agent.core, "target_return"):
        with drawing_from(generator(0, "agent")):
            core = CORES["decision_transformer"](wrapped.obs_size, 8, layout=step_layout(wrapped), context=3, layers=2)
            sense, head = Broadcast(wrapped.obs_size), act.Mean(8, task.action_space.size)
            agent = Agent(sense=sense, core=core, bus=Silent(8), act=head, experts=1, identity_size=0).double()
    return DecisionTransformerLearner(agent, wrapped, data=data, batch=4, **options)


def distribution_conditioned(agent, task, **options):
    """A Generalised Decision Transformer, likewise."""
    wrapped = PreviousActionReward(task)
    sizes = {"layout": step_layout(wrapped), "context": 3, "layers": 1}
    return GeneralizedDTLearner(
        planned_by(agent, wrapped, GeneralizedDT, **sizes), wrapped, data=random_episodes(task, 12), batch=4, **options
    )


def planning(agent, task, **options):
    """A Trajectory Transformer, likewise."""
    wrapped = PreviousActionReward(task)
    sizes = {"layout": step_layout(wrapped), "layers": 1, "horizon": 2, "beam": 2, "width": 8, "bins": 5}
    return TrajectoryTransformerLearner(
        planned_by(agent, wrapped, TrajectoryTransformer, **sizes), wrapped, data=random_episodes(task, 12), batch=4,
        **options,
    )  # fmt: skip


def planned_by(agent, task, core, **sizes):
    """The agent, if it has such a core, else a new one."""
    if isinstance(agent.core, core):
        return agent
    with drawing_from(generator(0, "agent")):
        sense, head = Broadcast(task.obs_size), act.Mean(16, task.action_space.size)
        made = core(task.obs_size, 16, **sizes)
        return Agent(sense=sense, core=made, bus=Silent(16), act=head, experts=1, identity_size=0).double()


def imagining(agent, task, **options):
    """Dreamer, likewise."""
    wrapped = PreviousActionReward(task)
    agent = with_model(agent, wrapped, RSSM, act.with_deviations, latent_size=2, classes=3)
    return Dreamer(agent, wrapped, train_length=4, overlap=2, imagine_steps=3, hidden_size=8, **REPLAY, **options)


def evolved_controller(agent, task, *, stages=(1, 1), **options):
    """World Models, likewise; each outer step is of another stage."""
    wrapped = PreviousActionReward(task)
    agent = with_model(agent, wrapped, MDNRNN, lambda head, space: head)
    sizes = {"random_steps": 20, "train_length": 3, "overlap": 1, "gradient_steps": 1, "replay_batch": 4, "batch": 2}
    vision, memory = stages
    return WorldModels(
        agent, wrapped, vision_steps=vision, memory_steps=memory, hidden_size=8, population=4, **sizes, **options
    )


def with_model(agent, task, core, wrap, **sizes):
    """The agent, if its core is such a world model, else a new one with a wrapped head."""
    if isinstance(agent.core, core):
        return agent
    with drawing_from(generator(0, "agent")):
        made = core(task.obs_size, 8, layout=step_layout(task), **sizes)
        sense, head = Broadcast(task.obs_size), wrap(act.Mean(8, task.action_space.size), task.action_space)
        return Agent(sense=sense, core=made, bus=Silent(8), act=head, experts=1, identity_size=0).double()


QUICK = {
    "dreamer": imagining,
    "world_models": evolved_controller,
    "evolution": partial(Evolution, batch=2, population=4),
    "generalized_dt": distribution_conditioned,
    "trajectory_transformer": planning,
    "behavior_cloning": partial(offline, BehaviorCloning, batch=4),
    "decision_transformer": return_conditioned,
    "percent_bc": partial(offline, PercentBC, batch=4, percent=75, sequence_length=3),
    "ppo": partial(PPO, batch=4, horizon=5, sequence_length=4, epochs=1, minibatches=2),
    "dqn": partial(DQN, **REPLAY),
    "drqn": partial(DRQN, **REPLAY),
    "r2d2": partial(R2D2, **REPLAY),
    "emdqn": partial(EMDQN, **REPLAY),
    "mfec": partial(MFEC, batch=4, horizon=5),
    "nec": partial(NEC, batch=4, horizon=5, gradient_steps=1, replay_batch=8, prefill=4),
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
        LEARNER_PROPERTIES[holds](partial(make_learner, MAKE[name], ON[title]))


@pytest.mark.parametrize(("name", "reads"), [
    ("bptt", 0), ("a2c", 0), ("ppo", 0), ("reinforce", 0), ("dqn", 1), ("dreamer", 1), ("drqn", 1), ("r2d2", 1),
    ("mfec", 1), ("nec", 1), ("emdqn", 2), ("behavior_cloning", 0), ("percent_bc", 0), ("decision_transformer", 0),
    ("generalized_dt", 0), ("trajectory_transformer", 0), ("evolution", 0), ("world_models", 0),
])  # fmt: skip
def test_an_update_waits_for_the_device_as_often_as_documented(name, reads):
    assert host_reads(partial(make_learner, MAKE[name], ON[supported(name)[0]])) == reads


def test_stored_states_are_looked_up_by_one_read_for_each_gradient_step():
    learner = partial(R2D2, **REPLAY | {"gradient_steps": 2}, train_length=2, burn_in=1, overlap=0)
    assert host_reads(partial(make_learner, learner, TASKS[2])) == 1 + 2


def test_a_generation_of_controllers_counts_its_steps_by_one_read():
    assert host_reads(partial(make_learner, partial(evolved_controller, stages=(0, 0)), TASKS[0])) == 1


class Frozen(BPTT):
    def update(self):
        before = {name: p.detach().clone() for name, p in self.agent.named_parameters()}
        metrics = super().update()
        self.agent.load_state_dict(before, strict=False)
        return metrics


class Attached(BPTT):
    def update(self):
        return super().update() | {"weight": next(self.agent.parameters()).sum()}


class ReadsLoss(BPTT):
    def update(self):
        metrics = super().update()
        return metrics | {"loss": metrics["loss"].item()}


class ReadsTwice(BPTT):
    def update(self):
        metrics = super().update()
        return metrics | {name: float(host.to_host(metrics[name])) for name in ("loss", "return")}


@pytest.mark.parametrize(
    ("learner", "holds"),
    [
        (ReadsLoss, "an_update_runs_under_fake_tensor_mode"),
        (ReadsTwice, "an_update_reads_values_on_the_host_at_most_once"),
    ],
)
def test_the_contract_catches_a_learner_that_waits_for_the_device(learner, holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: .*want .*, got "):
        check_learner(learner, [TASKS[0]], properties=[holds])


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
