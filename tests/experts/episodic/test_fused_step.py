"""The steps of a memory as one function equal plain reads of its log around the same cell, forward and backward."""

import copy
from functools import partial

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from badger.testing.contract import close
from badger.testing.core.cases import B, D, H, N, grads, inputs, noise, run
from experts import GRU, LSTM, EpisodicMemory, Private
from experts.episodic import memory as episodic
from experts.episodic import top_k_read as recall
from experts.kernels.library import without_kernels
from pairwise import pairwise

STEPS = 10


@pytest.fixture(autouse=True)
def by_tensor_operations():
    """The kernels, which take the place of these functions where they were built, have tests of their own."""
    with without_kernels():
        yield


def build(cell=GRU, private=False, **options):
    """A memory whose steps are one function, and the same one around plain reads."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        defaults = {"slots": 6, "top_k": 3, "key_size": 2}
        memory = EpisodicMemory(D, partial(cell, hidden_size=H), **defaults | options).double()
    plain = copy.deepcopy(memory)
    assert memory.fused_config is not None
    plain.fused_config = None
    return (Private(memory), Private(plain)) if private else (memory, plain)


def episode(steps=STEPS):
    return torch.cat([inputs(seed) for seed in range(4)])[:steps].detach().requires_grad_()


def agree(fused, plain, xs, got, want):
    """Same outputs and gradients, each with its own parameters."""
    close(got, want)
    for a, b in zip(grads(got, xs, *fused.parameters()), grads(want, xs, *plain.parameters()), strict=True):
        close(a, b)


OPTIONS = {
    "scaled_dot": {},
    "dot": {"similarity": "dot"},
    "raw": {"weighting": "similarity"},
    "l2": {"similarity": "l2"},
    "inverse": {"similarity": "l2", "weighting": "inverse_distance"},
    "x": {"row_content": "x"},
    "h": {"row_content": "h"},
    "detached": {"detach_rows": True},
    "compressed": {"row_size": 2},
    "compressed_x": {"row_content": "x", "row_size": 3},
    "compressed_h_detached": {"row_content": "h", "row_size": 1, "detach_rows": True},
    "all": {"top_k": 6},
    "one": {"top_k": 1},
    "few_slots": {"slots": 3},
}


combinations = pairwise(options=OPTIONS, cell=[GRU, LSTM], private=[False, True])


@combinations
def test_an_unroll_with_resets_equals_plain_reads(options, cell, private, monkeypatch):
    options = OPTIONS[options]
    monkeypatch.setattr(episodic, "UNROLL_CHUNK", 4)
    fused, plain = build(cell, private, **options)
    xs, reset = episode(), torch.zeros(STEPS, B, dtype=torch.bool)
    reset[3, 0] = reset[4, 0] = reset[8, 1] = reset[0, 1] = True
    got, want = (core.unroll(xs, core.initial_state(xs[0]), reset)[0] for core in (fused, plain))
    agree(fused, plain, xs, got, want)


@pytest.mark.parametrize("cell", [GRU, LSTM])
def test_every_part_of_a_state_carries_its_gradient(cell):
    """What lies behind an unroll learns through the state alone: hidden state, cell, pending row and log."""
    fused, plain = build(cell)
    xs = episode()
    results = []
    for core in (fused, plain):
        _, state = core.unroll(xs[:7], core.initial_state(xs[0]))
        results.append(run(core, xs[7:], state)[0])
    agree(fused, plain, xs, *results)


def test_a_cell_with_a_step_of_its_own_is_taken_at_its_word():
    """Not at that of the class that it was made from."""

    class Frozen(GRU):
        def forward(self, x, state, present=None):
            return state.h, state

    memory = EpisodicMemory(D, partial(Frozen, hidden_size=H)).double()
    ys, _ = run(memory, episode())
    assert memory.fused_config is None and not ys.any()


def test_fused_and_plain_pieces_may_alternate():
    fused, plain = build()
    plain.load_state_dict(fused.state_dict())
    xs, ys, state = episode(), [], fused.initial_state(episode()[0])
    for i, piece in enumerate(xs.split(2)):
        y, state = (run(fused, piece, state) if i % 2 else fused.unroll(piece, state))[:2]
        ys.append(y)
    agree(fused, plain, xs, torch.cat(ys), run(plain, xs)[0])


def test_unrolled_pieces_may_be_checkpointed():
    fused, plain = build()
    xs, ys, state = episode(), [], fused.initial_state(episode()[0])
    for piece in xs.split(4):
        y, state = checkpoint(fused.unroll, piece, state, use_reentrant=False)
        ys.append(y)
    agree(fused, plain, xs, torch.cat(ys), run(plain, xs)[0])


def test_a_window_read_whole_equals_its_rows_alone(monkeypatch):
    xs, results = episode(), []
    for dense in (0, 100):
        monkeypatch.setattr(recall, "DENSE_FACTOR", dense)
        core, _ = build()
        ys, _ = run(core, xs)
        results.append([ys, *grads(ys, xs, *core.parameters())])
    for a, b in zip(*results, strict=True):
        close(a, b)


@pytest.mark.parametrize("chunk", [1, 2, 5])
@pytest.mark.parametrize("options", [OPTIONS["scaled_dot"], OPTIONS["inverse"]], ids=["dot", "l2"])
def test_a_store_searched_in_chunks_equals_one_searched_whole(options, chunk, monkeypatch):
    xs = episode()
    whole, pieces = build(slots=30, **options)[0], build(slots=30, **options)[0]
    want, _ = run(whole, xs)
    present = torch.ones(STEPS, B, N, dtype=torch.bool)
    monkeypatch.setattr(recall, "MAX_SCORES", chunk * B * N)
    agree(pieces, whole, xs, run(pieces, xs)[0], want)
    close(run(pieces, xs, present=present)[0], want)


def test_no_more_similarities_are_held_than_asked_for(monkeypatch):
    sizes = []
    best = recall._best
    monkeypatch.setattr(recall, "_best", lambda q, keys, *rest: sizes.append(keys.shape[1]) or best(q, keys, *rest))
    monkeypatch.setattr(recall, "MAX_SCORES", 7 * 4)
    query, keys = noise(1, 4, 2), noise(1, 100, 2)
    scores, index = recall.best_rows(query, keys, None, recall.TopKAttention(5, False, "softmax"))
    assert max(sizes) == 7
    want = (query @ keys.mT).topk(5, -1)
    close(scores.sort(-1, descending=True).values, want.values)
    assert index.sort(-1).values.equal(want.indices.sort(-1).values)


def test_an_episode_may_begin_with_a_full_memory():
    """Rows known beforehand are read like rows of the episode, and gradients reach them."""
    core, _ = build(slots=39)
    xs = episode()
    _, state = run(core, xs[:5])
    log = state.log
    window = log.read(noise(B, N, 2), core.attend)[-1]  # writes the last rows
    keys, values = window.keys().detach(), torch.cat([noise(B, 15, D), noise(B, 15, H)], -1)
    initial_rows = type(log).from_rows(keys.requires_grad_(), values.requires_grad_(), slots=39)
    initial = core.initial_state(xs[0])._replace(log=initial_rows)
    ys, final = run(core, xs, initial)
    assert core.metrics(final)["slots_used"].tolist() == [39, 39]
    assert all(g.abs().sum() > 0 for g in grads(ys, keys, values))
