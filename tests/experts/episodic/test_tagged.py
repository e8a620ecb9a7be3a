"""A shared store with tags, a gate and fewer writers equals its oracle; and both kinds of memory side by side."""

from functools import partial
from itertools import product

import pytest
import torch

import oracles
from badger.testing.contract import close
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import equal_runs, noise, run
from experts import GRU, EpisodicMemory, Private, TaggedMemory, private_and_shared

D, H, B, N, T = 2, 3, 2, 3, 7
OPTIONS = [
    {"tags": tags, "gate": gate, "writers": writers}
    for tags, gate, writers in product((0, 2, 4), (False, True), (None, 2))
]


def build(size=D, hidden=H, *, slots=7, top_k=3, bonus=1.5, **options):
    """The gate is moved from where it begins, where much is zero."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = EpisodicMemory(size, partial(GRU, hidden_size=hidden), slots=slots, top_k=top_k, key_size=2)
        core = TaggedMemory(memory, bonus=bonus, **options).double()
        with torch.no_grad():
            if core.gate is not None:
                core.gate.weight.normal_()
                core.gate.bias.zero_()
    return core


def inputs(steps=T, n=N):
    return noise(steps, B, n, D).requires_grad_()


def weights(core, xs, present=None):
    """What the core says of whose rows it read, at each step (T, B, N)."""
    state, numbers = core.initial_state(xs[0]), []
    for t, x in enumerate(xs):
        _, state = core(x, state, None if present is None else present[t])
        numbers.append(
            torch.stack([state.tag_weights[:, i, state.tag[0, i] % core.tags] for i in range(x.shape[1])], 1)
        )
    return torch.stack(numbers)


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_a_shared_memory_equals_the_oracle(options):
    core, xs, present = build(**options), inputs(), noise(T, B, N, seed=5) < 0.5
    want, share = oracles.shared_memory(
        dict(core.named_parameters()), xs, slots=7, top_k=3, present=present,
        tags=options["tags"], writers=options["writers"],
    )  # fmt: skip
    equal_runs(core, xs, run(core, xs, present=present)[0], want)
    if core.tags:
        close(weights(core, xs, present), share)


@pytest.mark.parametrize("options", [{}, {"writers": 5}], ids=str)
def test_without_options_it_is_the_memory_itself(options):
    core, xs = build(**options), inputs()
    equal_runs(core.memory, xs, run(core, xs)[0], run(core.memory, xs)[0])


@pytest.mark.parametrize("options", [{"tags": 8, "gate": True}, {"tags": 8, "gate": True, "writers": 2}], ids=str)
def test_a_shared_memory_holds_the_contract(options):
    by_place = "writers" in options  # the first ones write
    check_core(lambda d, h: build(d, h, slots=32, **options), ordered=by_place, properties=UNCOMPILED)


def test_tags_begin_without_a_word():
    """A bonus of nothing: what is read is what a plain memory would read."""
    core, xs = build(tags=4, bonus=0.0), inputs()
    close(run(core, xs)[0], run(core.memory, xs)[0])
    assert TaggedMemory(core.memory, tags=4).bonus == 0


def test_a_large_bonus_makes_a_shared_store_private():
    core, xs = build(tags=3, bonus=1e3, slots=64), inputs()
    close(run(core, xs)[0][:5], run(Private(core.memory), xs)[0][:5])  # a step later, top-k finds no fourth row


def test_own_read_is_that_of_the_read_weight_on_ones_own_rows():
    core, xs = build(tags=3, bonus=1e3), inputs()
    _, first = core(xs[0], core.initial_state(xs[0]))
    assert core.metrics(first)["own_read"].tolist() == [0, 0]
    assert core.metrics(run(core, xs)[1])["own_read"].tolist() == [1, 1]
    assert core.metrics(run(build(tags=3, bonus=-1e3), xs)[1])["own_read"].tolist() == [0, 0]


def test_a_gate_begins_almost_open():
    core, xs = build(), inputs()
    core = TaggedMemory(core.memory, gate=True).double()
    gate = core.metrics(run(core, xs)[1])["read_gate"]
    assert ((gate > 0.9) & (gate < 1)).all()


def test_a_shut_gate_lets_nothing_through():
    core, xs = build(gate=True), inputs()
    with torch.no_grad():
        core.gate.weight.zero_()
        core.gate.bias.fill_(-1e3)
        other = build(gate=True)
        other.gate.load_state_dict(core.gate.state_dict())
        other.memory.key.weight.normal_()
    close(run(core, xs)[0], run(other, xs)[0])
    assert core.metrics(run(core, xs)[1])["read_gate"].tolist() == [0, 0]


def test_only_writers_write_and_all_read():
    core, xs = build(writers=1, slots=64), inputs()
    ys, state = run(core, xs)
    assert core.metrics(state)["slots_used"].tolist() == [T - 1, T - 1]
    (grad,) = torch.autograd.grad(ys[-1, :, 2].sum(), xs)
    assert grad[0, :, 0].any() and not grad[0, :, 1].any()


def test_a_fresh_member_takes_no_ones_tag():
    core, xs = build(tags=8), inputs()
    _, state = run(core, xs)
    moved = core.select_members(state, torch.tensor([-1, 2, 0, -1]), noise(B, 4, D))
    assert moved.tag.tolist() == [[3, 2, 0, 4]] * B


def test_both_read_their_own_and_the_common_store():
    core, xs = private_and_shared(D, partial(GRU, hidden_size=H), slots=3, shared_slots=64).double(), inputs()
    numbers = core.metrics(run(core, xs)[1])
    assert numbers["slots_used"].tolist() == [N * (T - 1)] * B and numbers["inner_slots_used"].tolist() == [3, 3]
    assert core.controller.core.controller.input_size == D + (D + H) + H


def test_both_may_share_with_care():
    core = private_and_shared(
        D, partial(GRU, hidden_size=H), wrap_shared=partial(TaggedMemory, tags=4, gate=True)
    ).double()
    numbers = core.metrics(run(core, inputs())[1])
    assert isinstance(core, TaggedMemory) and {"own_read", "read_gate", "inner_slots_used"} <= numbers.keys()


@pytest.mark.parametrize(
    "options, message",
    [
        ({"tags": -1}, "tags=-1, want 0 for none, or the number of writers"),
        ({"writers": 0}, "writers=0, want at least 1"),
        ({"tags": 2, "similarity": "l2"}, 'tags=2 with similarity="l2", want "scaled_dot"'),
    ],
    ids=["tags", "writers", "l2"],
)
def test_an_option_out_of_range_is_refused(options, message):
    memory = EpisodicMemory(D, partial(GRU, hidden_size=H), similarity=options.pop("similarity", "dot"))
    with pytest.raises(ValueError, match=message):
        TaggedMemory(memory, **options)
