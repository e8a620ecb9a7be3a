"""Steps whose backward pass undoes their writes give the gradients that plain operations give, and keep less."""

from itertools import product

import pytest
import torch
from torch.func import functional_call
from torch.func import grad as func_grad
from torch.utils.checkpoint import checkpoint

from badger.testing.contract import close
from badger.testing.core.cases import B, D, N, grads, noise, run
from experts import Private
from experts import state as states
from experts.fast_weights import reversible_write as undone
from toy_memories import neural_memory

STEPS = 7
OPTIONS = [
    {"rule": rule, "heads": heads, "layers": layers, "delay": delay}
    for rule, (heads, layers, delay) in product(("local", "gradient"), ((1, 3, 0), (2, 1, 0), (2, 4, 1)))
]


@pytest.fixture(autouse=True)
def kept_every_third(monkeypatch):
    monkeypatch.setattr(undone, "KEEP_EVERY", 3)


def episode(seed=0):
    return noise(STEPS, B, N, D, seed=seed).requires_grad_()


def metrics(core, xs, present=None, step=None):
    """All that a step tells, of all steps: outputs and loss."""
    state, ys = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        y, state = (step or core)(x, state, None if present is None else present[t])
        ys.append(torch.cat([y.flatten(1), core.losses(state)["meta"].unsqueeze(1)], 1))
    return torch.stack(ys), state


def plainly(core, xs, monkeypatch, play=metrics):
    with monkeypatch.context() as patch:
        patch.setattr(undone, "functorch_active", lambda: True)
        return play(core, xs)


def agree(core, xs, got, want):
    close(got, want)
    for a, b in zip(grads(got, xs, *core.parameters()), grads(want, xs, *core.parameters()), strict=True):
        close(a, b)


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
@pytest.mark.parametrize("options", OPTIONS, ids=lambda o: "-".join(str(v) for v in o.values()))
def test_gradients_equal_those_of_plain_operations(options, private, monkeypatch):
    core, xs = neural_memory(**options), episode()
    core = Private(core) if private else core
    agree(core, xs, metrics(core, xs)[0], plainly(core, xs, monkeypatch)[0])


def test_absent_members_change_no_gradient(monkeypatch):
    core, xs = neural_memory(heads=2), episode()
    present = torch.rand(STEPS, B, N, generator=torch.Generator().manual_seed(2)) > 0.4
    got, want = metrics(core, xs, present)[0], plainly(core, xs, monkeypatch, lambda c, x: metrics(c, x, present))[0]
    agree(core, xs, got, want)


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
def test_weights_are_kept_of_every_so_many_steps_alone(private):
    """The graph holds D x D numbers a layer where a chain begins and at each `KEEP_EVERY`th step, and nowhere else."""
    core, xs = neural_memory(layers=2), episode()
    saved = []

    def pack(x):
        if x.shape[-2:] == (core.width, core.width) and x.dim() == 3 and x.shape[0] == (B * N if private else B):
            saved.append(x)
        return x

    xs = xs[..., :1, :] if not private else xs  # of one member, two queries a store: not D x D
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda x: x):
        metrics(Private(core) if private else core, xs)
    assert len(saved) == 3 * core.layers


def test_a_gradient_that_not_all_steps_give_is_right(monkeypatch):
    """The steps after it hand no weights back, so they are written again."""
    core, xs = neural_memory(), episode()
    got, want = metrics(core, xs)[0], plainly(core, xs, monkeypatch)[0]
    for end in (1, 4, 6):
        agree(core, xs, got[:end], want[:end])


def test_a_graph_may_be_walked_again():
    core, xs = neural_memory(), episode()
    ys, _ = metrics(core, xs)
    for a, b in zip(grads(ys, xs), grads(ys, xs), strict=True):
        close(a, b)


def test_a_branch_that_is_thrown_away_leaves_no_trace(monkeypatch):
    core, xs = neural_memory(), episode()

    def stray(c, xs):
        def step(x, state, present):
            core(x + 1, state)
            return core(x, state)

        ys, state = metrics(core, xs, step=step)
        core(xs[0], state)
        return ys, state

    agree(core, xs, stray(core, xs)[0], plainly(core, xs, monkeypatch)[0])


@pytest.mark.parametrize("cut", [states.detach, lambda s: states.index(s, torch.tensor([1, 0]))], ids=["cut", "picked"])
def test_a_state_that_was_changed_begins_anew(cut, monkeypatch):
    core, xs = neural_memory(), episode()

    def play(core, xs):
        first, state = metrics(core, xs)
        ys, _ = run(core, xs * 0.5, cut(state))
        return torch.cat([first.flatten(), ys.flatten()]), None

    agree(core, xs, play(core, xs)[0], plainly(core, xs, monkeypatch, play)[0])


def test_the_memory_itself_may_be_part_of_a_loss(monkeypatch):
    core, xs = neural_memory(), episode()

    def play(core, xs):
        _, state = metrics(core, xs)
        return torch.stack([m.square().sum() for m in state.memory]), None

    agree(core, xs, play(core, xs)[0], plainly(core, xs, monkeypatch, play)[0])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_steps_may_be_checkpointed(size, monkeypatch):
    core, xs = neural_memory(), episode()

    def play(core, xs):
        ys, state = [], core.initial_state(xs[0])
        for piece in xs.split(size):
            y, state = checkpoint(core.unroll, piece, state, use_reentrant=False)
            ys.append(y)
        return torch.cat(ys), state

    want = plainly(core, xs, monkeypatch, run)[0]
    got = play(core, xs)[0]
    agree(core, xs, got, want)
    agree(core, xs, play(core, xs)[0][:3], want[:3])


def test_plain_operations_go_under_a_transform():
    core, xs = neural_memory(), episode()
    weights = dict(core.named_parameters())

    def total(weights):
        return functional_call(core, (weights, dict(core.named_buffers())), (xs[0], core.initial_state(xs[0])))[0].sum()

    want = torch.autograd.grad(total(weights), list(weights.values()), materialize_grads=True)
    for a, b in zip(func_grad(total)(weights).values(), want, strict=True):
        close(a, b)
