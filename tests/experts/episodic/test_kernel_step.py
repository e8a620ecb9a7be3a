"""The steps of a memory by kernels equal those by tensor operations, forward and backward."""

import copy
from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from badger.testing.core.cases import run
from experts import GRU, LSTM, Core, EpisodicMemory, Private
from experts.episodic import memory as episodic
from experts.episodic.kernel_step import KernelStepFunction
from experts.kernels.library import description, library, without_kernels
from pairwise import each_value

pytestmark = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")

STEPS, B, N, D, H = 11, 3, 2, 3, 5

OPTIONS = {
    "scaled_dot": {},
    "dot": {"similarity": "dot", "key_size": 16},
    "raw": {"weighting": "similarity"},
    "l2": {"similarity": "l2"},
    "inverse": {"similarity": "l2", "weighting": "inverse_distance"},
    "x": {"row_content": "x"},
    "h": {"row_content": "h"},
    "detached": {"detach_rows": True},
    "h_detached": {"row_content": "h", "detach_rows": True},
    "all": {"top_k": 6},
    "one": {"top_k": 1},
    "few_slots": {"slots": 2},
    "wide_keys": {"key_size": 32, "slots": 40, "top_k": 5},
}


def build(dtype=torch.double, **options):
    """A memory with random weights and biases."""
    rng = torch.Generator().manual_seed(0)
    memory = EpisodicMemory(D, partial(GRU, hidden_size=H), **{"slots": 6, "top_k": 3, "key_size": 2} | options)
    for parameter in memory.parameters():
        parameter.data = 0.5 * torch.randn(parameter.shape, generator=rng)
    return memory.to(dtype)


def episode(dtype=torch.double, steps=STEPS, members=N):
    rng = torch.Generator().manual_seed(1)
    return torch.randn(steps, B, members, D, generator=rng).to(dtype).requires_grad_()


def resets():
    reset = torch.zeros(STEPS, B, dtype=torch.bool)
    reset[3, 0] = reset[4, 0] = reset[9, 1] = reset[0, 2] = True
    return reset


def unrolled(core, xs, reset=None):
    return core.unroll(xs, core.initial_state(xs[0]), reset)


def stepped(core, xs, reset=None):
    return Core.unroll(core, xs, core.initial_state(xs[0]), reset)


def weighted_sum(tensor):
    """A number to which each entry of a tensor contributes differently."""
    return (tensor * torch.linspace(-1, 1, tensor.numel(), dtype=tensor.dtype).view(tensor.shape)).sum()


def results(core, xs, play=unrolled, reset=None, memory_state=lambda state: state):
    """Outputs, positions and weights of the last read, and gradients of all that an episode leaves behind."""
    ys, state = play(core, xs, reset)
    state = memory_state(state)
    row, h = state.log.pending_rows, state.controller.h
    loss = sum(map(weighted_sum, (ys, row.key, row.value, state.log.keys(), h)))
    order = state.positions.sort(-1)
    grads = torch.autograd.grad(loss, (xs, *core.parameters()))
    return [ys.detach(), order.values, state.weights.gather(-1, order.indices), *grads]


def agree(core, xs, *rest, tolerance=1e-10, **options):
    """Kernels and tensor operations give the same results."""
    got = results(core, xs, *rest, **options)
    with without_kernels():
        want = results(core, xs, *rest, **options)
    for a, b in zip(got, want, strict=True):
        torch.testing.assert_close(a, b, rtol=tolerance, atol=tolerance)


@each_value(options=OPTIONS, play=[unrolled, stepped], reset=[False, True])
def test_steps_by_kernels_equal_those_by_tensor_operations(options, play, reset, monkeypatch):
    monkeypatch.setattr(episodic, "UNROLL_CHUNK", 4)
    agree(build(**OPTIONS[options]), episode(), play, resets() if reset else None)


@pytest.mark.parametrize("play", [unrolled, stepped])
def test_float32_equals_tensor_operations(play):
    agree(build(torch.float), episode(torch.float), play, resets(), tolerance=1e-4)


def test_a_store_for_each_member(monkeypatch):
    core = Private(build())
    xs = episode()
    got = unrolled(core, xs, resets())[0]
    with without_kernels():
        torch.testing.assert_close(got, unrolled(core, xs, resets())[0])


def test_the_gradients_are_those_of_finite_differences():
    core, xs = build(top_k=6), episode(steps=4)
    assert torch.autograd.gradcheck(lambda x: unrolled(core, x)[0], (xs,), fast_mode=True)


def test_the_last_state_alone_carries_gradients():
    core, xs = build(), episode()

    def play(core, xs, reset):
        state = unrolled(core, xs[:7])[1]
        return core.unroll(xs[7:], state, reset)

    agree(core, xs, play)


def test_an_old_state_branches():
    core, xs = build(), episode()

    def play(core, xs, reset):
        _, state = unrolled(core, xs[:5])
        first, _ = core.unroll(xs[5:7], state)
        second, state = core.unroll(-xs[5:], state)
        return torch.cat([first, second]), state

    agree(core, xs, play)


def test_steps_with_absent_members_lie_between_steps_by_kernels():
    core, xs = build(), episode()
    present = torch.tensor([[True, False], [True, True], [False, False]])

    def play(core, xs, reset):
        ys, state = [], core.initial_state(xs[0])
        for t, x in enumerate(xs):
            y, state = core(x, state, present if t % 3 == 1 else None)
            ys.append(y)
        return torch.stack(ys), state

    agree(core, xs, play)


@pytest.mark.parametrize("play", [unrolled, stepped])
def test_pieces_may_be_checkpointed(play):
    core, xs = build(), episode()

    def play_pieces(core, xs, reset):
        ys, state = [], core.initial_state(xs[0])
        for piece in xs.split(4):
            step = core.unroll if play is unrolled else partial(Core.unroll, core)
            y, state = checkpoint(step, piece, state, use_reentrant=False)
            ys.append(y)
        return torch.cat(ys), state

    agree(core, xs, play_pieces)


@pytest.mark.parametrize("options", ["scaled_dot", "inverse", "raw"])
def test_gradients_may_be_batched(options):
    core, xs = build(**OPTIONS[options]), episode()
    ys, _ = unrolled(core, xs, resets())
    directions = torch.stack([torch.ones_like(ys), torch.linspace(-1, 1, ys.numel(), dtype=ys.dtype).view(ys.shape)])
    want = [torch.autograd.grad(ys, xs, grad, retain_graph=True)[0] for grad in directions]
    got = torch.autograd.grad(ys, xs, directions, is_grads_batched=True)[0]
    torch.testing.assert_close(got, torch.stack(want))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
@pytest.mark.parametrize("options", ["scaled_dot", "raw", "inverse"])
def test_a_row_that_is_not_finite_stays_so(options, bad):
    """What reads it is not finite either, and other episodes are not touched."""
    core = build(torch.float, **OPTIONS[options])
    xs = episode(torch.float).detach()
    clean, _ = unrolled(core, xs)
    xs[4, 1, 0, 0] = bad
    ys, _ = unrolled(core, xs)
    assert not ys[4, 1, 0].isfinite().all() and not ys[5:, 1, 0].isfinite().any(0).all()
    assert ys[:4].equal(clean[:4]) and ys[:, [0, 2]].equal(clean[:, [0, 2]])


def test_a_key_that_is_not_a_number_is_read_first():
    """As torch.topk orders it: the similarity NaN must not hide its row."""
    core = build(torch.float, slots=40, top_k=2, key_size=16)
    xs = episode(torch.float, steps=30, members=1).detach()
    state = unrolled(core, xs)[1]
    state.log.store.keys[0, 5] = float("nan")
    ys, state = core(xs[0], state)
    assert 5 in state.positions[0, 0] and ys[0].isnan().all() and ys[1:].isfinite().all()


def used(core, xs, **options):
    """Whether the kernels take a step."""
    node = core.unroll(xs, core.initial_state(xs[0]))[0].grad_fn
    return isinstance(node, KernelStepFunction._backward_cls)


def test_what_the_kernels_lack_is_done_by_tensor_operations():
    xs = episode()
    assert used(build(), xs)
    lstm = EpisodicMemory(D, partial(LSTM, hidden_size=H)).double()
    assert not any(used(core, xs) for core in (lstm, build(row_size=2), build(similarity="cosine")))
    many = build(slots=200, top_k=100)
    assert not used(many, xs) and used(build(slots=100, top_k=100), xs)
    assert not used(build(slots=20_000), xs)
    with torch.autocast("cpu"):
        assert not used(build(torch.float), episode(torch.float))
    with without_kernels():
        assert not used(build(), xs)


def test_without_gradients_the_outputs_are_the_same():
    core, xs = build(), episode()
    want = unrolled(core, xs)[0]
    with torch.no_grad():
        for play in (unrolled, stepped):
            torch.testing.assert_close(play(core, xs)[0], want)


def test_a_copy_of_a_memory_has_kernels_too():
    core, xs = build(), episode()
    torch.testing.assert_close(unrolled(copy.deepcopy(core), xs)[0], unrolled(core, xs)[0])
    assert run(core, xs)[0].equal(stepped(core, xs)[0])


def test_a_state_of_another_batch_is_refused():
    """The kernels check nothing, so tensor operations must raise."""
    core, xs = build(), episode()
    _, state = unrolled(core, xs)
    for x in (xs[0, :2], xs[0, :, :1], xs[0, ..., :2]):
        with pytest.raises((RuntimeError, ValueError, TypeError)):
            core(x, state)
