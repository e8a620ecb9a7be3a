"""HCAM equals its equations, written with loops in NumPy; no gradient goes through the past."""

from functools import partial

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger.testing.core import check_core
from experts import GRU, HCAM, LSTM
from experts import state as states

D, H, S, C = 3, 4, 3, 3
WRITTEN = (
    "unroll_equals_the_loop_of_forward", "rows_do_not_leak_into_each_other", "a_reset_touches_only_its_rows",
    "absent_members_return_their_last_output", "absent_steps_are_skipped", "members_can_leave_and_new_ones_join",
    "branches_of_an_old_state_are_independent", "the_state_survives_a_save_in_mid_episode", "members_permute",
    "episodes_of_a_state_can_be_selected", "private_equals_separate_copies", "precision_follows_the_input",
    "losses_and_metrics_are_one_number_an_episode", "unrolling_runs_on_the_meta_device",
)  # fmt: skip


def make(seed=0, **options):
    torch.manual_seed(seed)
    sizes = {"slots": S, "chunk_size": C, "top_k": 2, "heads": 2, "key_size": 5, "value_size": 2}
    return HCAM(D, partial(GRU, hidden_size=H), **sizes | options).double()


class Oracle:
    """One member: the list of all contents of its episode, and a read as in the paper's equations."""

    def __init__(self, core):
        self.core, self.p = core, {name: part.detach().numpy() for name, part in core.named_parameters()}
        self.contents, self.state = [], None

    def linear(self, name, x):
        return self.p[f"{name}.weight"] @ x

    def places(self):
        width, half = D + H, (D + H + 1) // 2
        angles = np.array([[age / 10_000 ** (i / half) for i in range(half)] for age in range(self.core.chunk_size)])
        want = np.concatenate([np.sin(angles), np.cos(angles)], 1)[::-1, :width]  # age 0 last
        got = self.core.attention.places.numpy()  # a table in single precision
        assert np.abs(got - want).max() < 1e-6
        return got

    def step(self, x):
        core, size = self.core, self.core.chunk_size
        key_size = self.p["attention.chunk_key.weight"].shape[0]
        state = core.controller.initial_state(torch.zeros(1, 1, D).double()) if self.state is None else self.state
        with torch.no_grad():
            h, self.state = core.controller(torch.tensor(x).view(1, 1, D), state)
        h = h.flatten().numpy()
        both = np.concatenate([x, h])
        content = (both - both.mean()) / np.sqrt(both.var() + 1e-5)
        chunks = [self.contents[start : start + size] for start in range(0, len(self.contents) - size + 1, size)]
        slots = np.zeros((core.slots, size))
        read = np.zeros(H)
        kept = list(enumerate(chunks))[-core.slots :]
        if kept:
            query = self.linear("attention.chunk_query", content)
            logits = [
                query @ self.linear("attention.chunk_key", np.mean(chunk, 0)) / np.sqrt(key_size) for _, chunk in kept
            ]
            best = np.argsort(logits)[::-1][: core.attention.top_k]
            relevance = np.exp([logits[i] for i in best]) / np.exp([logits[i] for i in best]).sum()
            inner = np.zeros((core.attention.heads, self.p["attention.value.weight"].shape[0] // core.attention.heads))
            for weight, i in zip(relevance, best, strict=True):
                number, chunk = kept[i]
                rows = np.array(chunk) + self.places()
                for head in range(core.attention.heads):
                    part = slice(head * key_size, (head + 1) * key_size)
                    q = self.linear("attention.query", content)[part]
                    scores = np.exp([q @ self.linear("attention.key", row)[part] / np.sqrt(key_size) for row in rows])
                    within = scores / scores.sum()
                    values = np.array(
                        [np.split(self.linear("attention.value", row), core.attention.heads)[head] for row in rows]
                    )
                    inner[head] += weight * within @ values
                    slots[number % core.slots] += weight * within / core.attention.heads
            read = self.linear("out", inner.flatten())
        self.contents.append(content)
        return h + read, slots.flatten()


def oracle_run(core, xs, reset=None):
    """Outputs (T, B, N, Y) and read weights of each step."""
    steps, batch, members, _ = xs.shape
    oracles = [[Oracle(core) for _ in range(members)] for _ in range(batch)]
    ys, weights = np.zeros((steps, batch, members, H)), np.zeros((steps, batch, members, core.slots * core.chunk_size))
    for t in range(steps):
        for b in range(batch):
            for n in range(members):
                if reset is not None and reset[t, b]:
                    oracles[b][n] = Oracle(core)
                ys[t, b, n], weights[t, b, n] = oracles[b][n].step(xs[t, b, n].numpy())
    return torch.tensor(ys), torch.tensor(weights)


def stepped(core, xs, reset=None):
    state, ys, weights = core.initial_state(xs[0]), [], []
    for t, x in enumerate(xs):
        if reset is not None:
            state = states.where(reset[t], core.initial_state(x), state)
        y, state = core(x, state)
        ys.append(y)
        weights.append(core.read_weights(state))
    return torch.stack(ys), torch.stack(weights), state


@pytest.mark.parametrize(
    "options", [{}, {"top_k": 9, "heads": 1}, {"slots": 1, "top_k": 1, "chunk_size": 1}, {"chunk_size": 2, "slots": 9}]
)
def test_every_step_is_that_of_the_equations(options):
    core = make(**options)
    xs = torch.randn(20, 2, 2, D, dtype=torch.double)
    reset = torch.zeros(20, 2, dtype=torch.bool)
    reset[[5, 6, 13], [0, 0, 1]] = True
    for mask in (None, reset):
        ys, weights = oracle_run(core, xs, mask)
        got, got_weights, _ = stepped(core, xs, mask)
        assert_close(got, ys, rtol=0, atol=1e-12)
        assert_close(got_weights, weights, rtol=0, atol=1e-12)


def test_long_sequences_and_their_gradients_are_those_of_single_steps():
    core = make()
    xs = torch.randn(150, 2, 1, D, dtype=torch.double, requires_grad=True)
    reset = torch.rand(150, 2, generator=torch.Generator().manual_seed(1)) < 0.03
    state = core.initial_state(xs[0])
    first, state = core.unroll(xs[:70], state, reset[:70])
    ys, state = core.unroll(xs[70:], state, reset[70:])
    got, weights, _ = stepped(core, xs, reset)
    assert_close(torch.cat([first, ys]), got)
    assert_close(core.read_weights(state), weights[-1])
    sources = [xs, *core.parameters()]
    for a, b in zip(
        torch.autograd.grad(torch.cat([first, ys]).square().sum(), sources),
        torch.autograd.grad(got.square().sum(), sources),
        strict=True,
    ):
        assert_close(a, b)


def test_a_memory_that_is_written_within_the_steps_of_the_contract_holds_it():
    sizes = {"slots": 2, "chunk_size": 2, "top_k": 1, "heads": 2, "key_size": 3, "value_size": 2}
    check_core(lambda d, h: HCAM(d, partial(LSTM, hidden_size=h), **sizes), properties=WRITTEN)


def test_no_gradient_goes_through_what_was_written():
    """A step that the controller has forgotten has no gradient, although it is read."""

    class Forgetful(GRU):
        def unroll(self, xs, state, reset=None):
            steps = [self(x, self.initial_state(x)) for x in xs]
            return torch.stack([y for y, _ in steps]), steps[-1][1]

    core = HCAM(D, partial(Forgetful, hidden_size=H), slots=S, chunk_size=C, top_k=2)
    xs = torch.randn(10, 1, 1, D, requires_grad=True)
    ys, state = core.unroll(xs, core.initial_state(xs[0]))
    assert core.read_weights(state).sum() > 0.99
    gradient = torch.autograd.grad(ys[-1].sum(), xs, retain_graph=True)[0].abs().sum((1, 2, 3))
    assert gradient[-1] > 0 and (gradient[:-1] == 0).all()
    of_memory = {name: part for name, part in core.named_parameters() if not name.startswith("controller")}
    gradients = torch.autograd.grad(ys.square().sum(), list(of_memory.values()))
    assert all((part != 0).any() for part in gradients)


def test_chunks_that_are_not_written_have_no_weight():
    core = make(top_k=3)
    xs = torch.randn(2 * C + 1, 1, 1, D, dtype=torch.double)
    _, weights, state = stepped(core, xs)
    total = weights[:, 0, 0].unflatten(-1, (S, C)).sum(-1)  # (T, S)
    assert (total[:C] == 0).all()
    assert_close(total[C : 2 * C, 0], torch.ones(C, dtype=torch.double))
    assert (total[: 2 * C, 1:] == 0).all() and (total[-1, :2] > 0).all() and total[-1, 2] == 0
    assert core.metrics(state)["slots_used"].item() == 2


def test_the_read_shows_which_chunk_and_which_step_was_read():
    """A query for one content finds the chunk that has most of it, and within it the step."""
    core = make(heads=1, key_size=D + H, value_size=D + H)
    attention = core.attention
    for query, key in ((attention.chunk_query, attention.chunk_key), (attention.query, attention.key)):
        query.weight.data = 30 * torch.eye(D + H, dtype=torch.double)
        torch.nn.init.eye_(key.weight)
    attention.places.zero_()
    xs = torch.eye(D, dtype=torch.double).repeat_interleave(C, 0).view(3 * C, 1, 1, D)
    xs[4] = -1
    _, state = core.unroll(xs, core.initial_state(xs[0]))
    _, state = core(torch.full((1, 1, D), -1.0).double(), state)
    where = core.read_weights(state)[0, 0].argmax().item()
    assert divmod(where, C) == (1, 1)


@pytest.mark.parametrize("option", ["slots", "chunk_size", "top_k", "heads", "key_size", "value_size"])
def test_sizes_below_one_are_refused(option):
    with pytest.raises(ValueError, match=f"{option}=0, want at least 1"):
        make(**{option: 0})
