"""Updates from records of the core's steps equal those from the graph of all steps."""

import pytest
import torch
from torch.testing import assert_close

from badger import A2C, PPO
from badger.rollouts import recorded, recording
from experts.kernels.library import description, library
from toy_learners import REPEAT, STEPS, agent_with_critic, flat, slopes

CORES = pytest.mark.parametrize("core", ["plastic", "plastic_modulated"])
TASKS = pytest.mark.parametrize("task", [REPEAT, STEPS], ids=["fixed length", "resets"])


def updates(learner, count=2):
    """Metrics, gradients and parameters after some updates; the gradients are those of the last gradient step."""
    metrics = [learner.update() for _ in range(count)]
    return metrics, slopes(learner.agent), flat(learner.agent)


def a2c(core, task, **options):
    agent = agent_with_critic(task, core=core, bus="silent")
    return A2C(agent, task, batch=4, entropy_weight=0.1, simpson_weight=0.1, clip=None, **options)


def ppo(core, task, **options):
    agent = agent_with_critic(task, core=core, bus="silent")
    sizes = {"batch": 4, "horizon": 9, "sequence_length": 5, "epochs": 2, "minibatches": 2}
    return PPO(agent, task, entropy_weight=0.1, clip=None, **sizes, **options)


def equal_without_records(make, monkeypatch):
    """Holds two updates against those of a learner that never keeps records."""
    got = updates(make())
    for module in (recorded, recording):
        monkeypatch.setattr(module, "keeps_records", lambda *_: False)
    want = updates(make())
    for ours, theirs in zip(got[0], want[0], strict=True):
        assert_close(ours["loss"], theirs["loss"], rtol=1e-8, atol=1e-10)
    for ours, theirs in zip(got[1], want[1], strict=True):
        assert_close(ours, theirs, rtol=1e-7, atol=1e-10)
    assert_close(got[2], want[2], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("horizon", [None, 3])
@TASKS
@CORES
def test_an_update_of_a2c_equals_the_one_with_the_graph(core, task, horizon, monkeypatch):
    equal_without_records(lambda: a2c(core, task, horizon=horizon), monkeypatch)


@TASKS
@CORES
def test_the_second_epoch_of_ppo_equals_the_one_with_the_graph(core, task, monkeypatch):
    equal_without_records(lambda: ppo(core, task), monkeypatch)


@pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")
def test_no_graph_of_the_steps_is_stored():
    learner = a2c("plastic", REPEAT)
    trajectory, _ = learner._collect(learner._open_stream(learner.rng()).carry, learner.rng())
    nodes, names = [trajectory.output.grad_fn], set()
    while nodes:
        node = nodes.pop()
        if node is not None:
            names.add(node.name())
            nodes += [parent for parent, _ in node.next_functions]
    assert "RecordedTracesFunctionBackward" in names and "TanhBackward0" not in names


def test_experts_that_communicate_keep_their_graph():
    agent = agent_with_critic(REPEAT, core="plastic", bus="attention")
    learner = A2C(agent, REPEAT, batch=4)
    learner.update()
    assert all(p.grad is not None for p in agent.bus.parameters())
    assert torch.stack([p.grad.abs().sum() for p in agent.bus.parameters()]).sum() > 0
