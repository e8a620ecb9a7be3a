"""On a GPU: the same numbers as on the CPU, and a whole outer step as a CUDA graph. Skipped where there is none."""

import copy
from contextlib import nullcontext
from types import SimpleNamespace

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, GuessingGame, SequentialMNIST, distributed, initial_carry, rollout
from badger.learners.cuda_graph import CudaGraphStep, check_capturable
from badger.learners.schedules import WarmupCosine
from toy_learners import flat, slopes
from toys import Walk, game, seeded, toy_agent

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


def learner(task=None, *, core="episodic", bus="attention", **options):
    task = task or GuessingGame(5, 2)
    agent = toy_agent(task, core=core, bus=bus, port="readout").float().cuda()
    return BPTT(agent, task, **{"batch": 6, "lr": WarmupCosine(1e-2, total=10, warmup=2)} | options)


def moved(state, device):
    if isinstance(state, tuple):
        parts = [moved(part, device) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    if isinstance(state, dict):
        return {name: moved(value, device) for name, value in state.items()}
    return state.to(device) if isinstance(state, torch.Tensor) else state


@on_gpu
@pytest.mark.parametrize("core", ["gru", "lstm", "episodic", "episodic_shared"])
def test_a_rollout_and_its_gradients_are_those_of_the_cpu(core):
    task = GuessingGame(5, 2, dtype=torch.float64)
    agent = toy_agent(task, core=core, port="readout")
    fresh = initial_carry(agent, task, 3, seeded())
    twin, found = copy.deepcopy(agent).cuda(), []
    for one, device in ((agent, "cpu"), (twin, "cuda")):
        rng = torch.Generator(device).manual_seed(0)
        initial = initial_carry(one, task, 3, rng)  # its core's state is empty, the rest is that of the CPU's draws
        drawn = moved(fresh.agent_state._replace(core=None), device)._replace(core=initial.agent_state.core)
        carry = initial._replace(
            env_state=moved(fresh.env_state, device), step=moved(fresh.step, device), agent_state=drawn
        )
        frames, _ = rollout(one, task, carry, rng, steps=5)
        (-frames.reward.sum(0).mean()).backward()
        found.append((frames.output.cpu(), [g.cpu() for g in slopes(one)]))
    assert_close(found[1], found[0], rtol=1e-9, atol=1e-12)


@on_gpu
@pytest.mark.parametrize("bus", ["attention", "gated"])
@pytest.mark.parametrize("core", ["gru", "episodic", "episodic_shared"])
def test_a_graph_gives_the_updates_of_the_plain_step(core, bus):
    fast, plain = learner(core=core, bus=bus, cuda_graph=True), learner(core=core, bus=bus)
    for _ in range(5):
        ours, theirs = fast.update(), plain.update()
        for name in theirs:
            assert_close(torch.as_tensor(ours[name]), torch.as_tensor(theirs[name]), rtol=1e-4, atol=1e-5)
        assert_close(flat(fast.agent), flat(plain.agent), rtol=1e-4, atol=1e-5)


@on_gpu
def test_a_graph_in_pieces_and_with_episodes_of_any_length():
    for task, truncation in ((GuessingGame(5, 2), 2), (Walk(), None)):
        fast, plain = (learner(task, truncation=truncation, cuda_graph=flag) for flag in (True, False))
        for _ in range(3):
            assert_close(fast.update()["loss"], plain.update()["loss"], rtol=1e-4, atol=1e-5)


@on_gpu
def test_a_graph_draws_the_images_that_the_plain_step_draws():
    fast, plain = (learner(SequentialMNIST(4), cuda_graph=flag) for flag in (True, False))
    for _ in range(4):
        assert_close(fast.update()["loss"], plain.update()["loss"], rtol=1e-4, atol=1e-5)


@on_gpu
def test_a_resumed_graph_goes_on_as_the_plain_step():
    fast, plain = learner(cuda_graph=True), learner()
    for one in (fast, plain):
        one.update()
        one.update()
    resumed, other = learner(cuda_graph=True), learner()
    resumed.update()  # it has a graph of its own
    resumed.load_state_dict(copy.deepcopy(fast.state_dict()))
    other.load_state_dict(copy.deepcopy(fast.state_dict()))
    for one in (resumed, other, plain):
        one.update()
    assert_close(flat(resumed.agent), flat(plain.agent), rtol=1e-4, atol=1e-5)
    assert_close(flat(other.agent), flat(plain.agent), rtol=1e-4, atol=1e-5)


@on_gpu
def test_metrics_of_a_graph_stay_as_they_were_told():
    fast = learner(cuda_graph=True)
    metrics = fast.update()
    first = metrics["loss"].clone()
    fast.update()
    assert torch.equal(metrics["loss"], first)


@on_gpu
def test_a_graph_with_segments_is_refused():
    with pytest.raises(ValueError, match=r"cuda_graph=True, but grad_checkpoint_steps=2 recomputes"):
        learner(grad_checkpoint_steps=2, cuda_graph=True)


# --- without a GPU


class Played:
    """In the place of a CUDA graph: what was captured is run again."""

    def __init__(self, graphed):
        self.graphed = graphed

    def replay(self):
        self.graphed.static_metrics = self.graphed.step(self.graphed.rng, self.graphed.lr)


@pytest.fixture
def no_streams(monkeypatch):
    stream = SimpleNamespace(wait_stream=lambda other: None)
    monkeypatch.setattr(torch.cuda, "Stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda: stream)
    monkeypatch.setattr(torch.cuda, "stream", lambda stream: nullcontext())
    monkeypatch.setattr(CudaGraphStep, "_capture", lambda graphed: Played(graphed))


@pytest.mark.parametrize("done", [0, 2])
def test_warming_up_leaves_no_trace_and_replays_are_seeded_as_plain_steps(no_streams, done):
    fast, plain = (BPTT(toy_agent(bus="gated"), game(), batch=4, lr=WarmupCosine(1e-2, total=9)) for _ in range(2))
    for one in (fast, plain):
        for _ in range(done):
            one.update()
    fast.graph = CudaGraphStep(fast._outer_step, fast.parameters, fast.optimizer)
    for _ in range(3):
        ours, theirs = fast.update(), plain.update()
        assert ours.keys() == theirs.keys()
        assert_close(ours["loss"], theirs["loss"])
        assert_close(flat(fast.agent), flat(plain.agent), rtol=1e-6, atol=1e-8)  # the graph's rate is a float32
    assert fast.state_dict()["optimizer"]["param_groups"] == plain.state_dict()["optimizer"]["param_groups"]


def test_a_graph_on_the_cpu_is_refused():
    with pytest.raises(ValueError, match="cuda_graph=True, but the agent is on cpu, want a CUDA device; or leave"):
        BPTT(toy_agent(), GuessingGame(4, 2), cuda_graph=True)


def test_a_graph_of_several_processes_is_refused(monkeypatch):
    monkeypatch.setattr(distributed, "world_size", lambda: 2)
    with pytest.raises(ValueError, match="2 processes share the run, want 1"):
        check_capturable(torch.device("cuda"), grad_checkpoint_steps=None)
