"""A memory that merges similar rows equals a list of slots, and the episodic memory where it merges none or equals."""

from functools import partial
from itertools import pairwise

import pytest
import torch
from torch import nn
from torch.func import functional_call, vmap

import oracles
from badger.testing.contract import close
from badger.testing.core import UNCOMPILED, check_core
from badger.testing.core.cases import equal_runs, grads, noise, run
from badger.testing.core.stepping import unchecked
from experts import GRU, ClusteredMemory, Core, EpisodicMemory, Private
from toy_memories import MEASURES, STORES, Unroll, absences, constant, ensemble, inputs, resets, stepped

D, H, B, N = 2, 3, 2, 2
OPTIONS = {
    "slots": 3,
    "top_k": 3,
    "threshold": 0.9,
    "similarity": "scaled_dot",
    "weighting": "softmax",
    "row_content": "both",
    "detach_rows": False,
}


def build(private: bool = False, kind: type[Core] = ClusteredMemory, **options) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = kind(D, partial(GRU, hidden_size=H), **{"key_size": 3, **options}).double()
    return Private(memory) if private else memory


def equals_the_oracle(private: bool, **options) -> None:
    options = {**OPTIONS, **options}
    core, xs, episodes = build(private, **options), inputs(30), {"reset": resets(30), "present": absences(30)}
    memory = core.core if private else core
    if memory.sharpness is not None:
        nn.init.ones_(memory.sharpness)  # unnormalised weights of 10 make gradients, and their rounding, grow each step
    ys, passed = stepped(core, xs, **episodes)
    counts = [state.store.counts for state in passed]
    assert any((c > 1).any() for c in counts)  # rows were merged
    assert any((current < previous).any() for previous, current in pairwise(counts[17:]))  # and replaced
    weights = dict(memory.named_parameters())
    equal_runs(core, xs, ys, oracles.clustered_memory(weights, xs, private=private, **episodes, **options))


# Equal to the oracle


@STORES
@pytest.mark.parametrize("similarity, weighting", MEASURES)
def test_every_way_to_read_equals_the_oracle(similarity, weighting, private):
    equals_the_oracle(private, similarity=similarity, weighting=weighting)


@pytest.mark.parametrize("detach_rows", [False, True], ids=["attached", "detached"])
@pytest.mark.parametrize("row_content", ["x", "h", "both"])
def test_whatever_a_row_keeps_equals_the_oracle(row_content, detach_rows):
    equals_the_oracle(True, row_content=row_content, detach_rows=detach_rows)


@pytest.mark.parametrize("options", [{"top_k": 1}, {"top_k": 9}, {"slots": 2, "threshold": 0.5}], ids=str)
def test_any_size_equals_the_oracle(options):
    equals_the_oracle(False, **options)


# Equal to the memory that does not merge


@STORES
def test_a_memory_that_merges_nothing_is_the_circular_buffer(private):
    merging, plain = build(private, slots=6, top_k=3, threshold=2), build(private, EpisodicMemory, slots=6, top_k=3)
    xs = inputs(20)
    ys, want = run(merging, xs)[0], run(plain, xs)[0]
    close(ys, want)
    pairs = zip(grads(ys, xs, *merging.parameters()), grads(want, xs, *plain.parameters()), strict=True)
    for a, b in pairs:
        close(a, b)


@pytest.mark.parametrize("similarity, weighting", MEASURES)
def test_reading_merged_equal_rows_is_reading_all_of_them(similarity, weighting):
    """Four different x, again and again; keys and rows of x alone, so that rows are equal where x is."""
    options = {"similarity": similarity, "weighting": weighting, "row_content": "x", "top_k": 64}
    merging, plain = build(threshold=1 - 1e-9, **options), build(kind=EpisodicMemory, **options)
    xs = noise(4, B, N, D)[torch.arange(20) % 4]
    nn.init.zeros_(merging.key.weight[:, D:].detach())
    plain.load_state_dict(merging.state_dict())
    ys, state = run(merging, xs)
    close(ys, run(plain, xs)[0])
    assert merging.metrics(state)["slots_used"].tolist() == [4 * N] * B


# One write after the other


def written(core: ClusteredMemory, *keys: list[float]) -> list[torch.Tensor]:
    """Keys, values and counts of the store after rows of these keys, with 1, 2, ... for values."""
    store = core.initial_state(torch.zeros(1, 1, D, dtype=torch.double)).store
    for i, key in enumerate(keys):
        row = torch.tensor([key]).double(), torch.full((1, core.value_size), i + 1.0).double()
        store = core._merge_or_insert(store, (*row, torch.tensor([True])))
    return [store.keys[0].tolist(), store.values[0, :, 0].tolist(), store.counts[0].tolist()]


A_KEY, B_KEY, C_KEY = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]


def test_similar_rows_become_their_mean():
    keys, values, counts = written(build(slots=2, threshold=0.9), A_KEY, [3.0, 0.5, 0.0], B_KEY, A_KEY)
    assert keys == [[pytest.approx(5 / 3), pytest.approx(1 / 6), 0], B_KEY]
    assert values == [pytest.approx((1 + 2 + 4) / 3), 3] and counts == [3, 1]


def test_a_row_goes_to_the_most_similar_slot():
    keys, _, counts = written(build(slots=2, threshold=0.1), A_KEY, [-0.1, 1.0, 0.0], [0.6, 0.8, 0.0])
    assert counts == [1, 2] and keys[0] == A_KEY


def test_a_full_store_gives_up_the_slot_written_to_longest_ago():
    keys, values, counts = written(build(slots=2), A_KEY, B_KEY, B_KEY, A_KEY, C_KEY)
    assert keys == [A_KEY, C_KEY] and values == [(1 + 4) / 2, 5] and counts == [2, 1]


def test_opposite_keys_are_not_alike():
    assert written(build(slots=2, threshold=0.0), A_KEY, [-1.0, 0.0, 0.0])[2] == [1, 1]


def test_a_key_of_zeros_is_like_no_other():
    assert written(build(slots=3), [0.0] * 3, [0.0] * 3, A_KEY)[2] == [1, 1, 1]


# However it is stepped


def test_a_small_store_whose_members_merge_rows_holds_the_contract():
    def make(input_size: int, hidden_size: int) -> Core:
        controller = partial(GRU, hidden_size=hidden_size)
        return ClusteredMemory(input_size, controller, slots=5, top_k=2, key_size=2, threshold=0.5)

    check_core(make, ordered=True, properties=UNCOMPILED)


@STORES
def test_memories_under_vmap_equal_those_outside(private):
    core, xs = build(private, **OPTIONS), inputs(12)
    unroll, stacked = Unroll(core, reset=resets(12), present=absences(12)), ensemble(core)
    ys = vmap(lambda weights: functional_call(unroll, weights, (xs,)))(stacked)
    for i in range(len(ys)):
        alone = functional_call(unroll, {name: p[i] for name, p in stacked.items()}, (xs,))
        close(ys[i], alone)
        own_weight = grads(alone, xs, *stacked.values())
        for a, b in zip(grads(ys[i], xs, *stacked.values()), own_weight, strict=True):
            close(a, b)


def test_members_of_a_shared_store_merge_what_they_see_alike():
    core = build()
    x = noise(1, B, 1, D).expand(1, B, 5, D)  # all see the same, in the first step
    assert core.metrics(run(core, x)[1])["slots_used"].tolist() == [1, 1]


def test_a_member_that_joins_a_shared_store_reads_what_the_others_wrote():
    core, xs, later = build(), inputs(5), noise(4, B, N, D, seed=1)
    _, state = run(core, xs[:, :, :1])
    joined, _ = run(core, later, core.select_members(state, torch.tensor([0, -1]), later[0]))
    _, waited = run(core, xs, present=torch.tensor([True, False]).expand(5, B, N))
    equal_runs(core, xs, joined, run(core, later, waited)[0])


# What it reports


def test_one_thing_uses_one_slot():
    core, xs = build(), inputs(5)
    constant(core.key)
    numbers = core.metrics(run(core, xs)[1])
    want = {"slots_used": 1, "duplicate_rate": 0, "effective_slots": 1, "read_entropy": 0, "merge_rate": 0.9}
    assert {name: value.tolist() for name, value in numbers.items()} == {name: [v] * B for name, v in want.items()}


def test_the_row_of_an_absent_member_is_not_counted():
    core, xs = build(threshold=2), inputs(5)
    numbers = core.metrics(run(core, xs, present=torch.tensor([True, False]).expand(5, B, N))[1])
    assert numbers["slots_used"].tolist() == [5, 5] and numbers["merge_rate"].tolist() == [0, 0]


def test_read_weights_lie_on_the_slots_that_were_read():
    core, xs = build(**OPTIONS), inputs(30)
    for state in stepped(core, xs)[1][5:]:
        spread = core.read_weights(state)
        close(spread.sum(-1), torch.ones(B, N).double())
        close(spread.gather(-1, state.positions), state.weights)


def test_the_input_may_be_quieter_in_first_keys():
    plain, quiet = (build(key_input_scale=scale) for scale in (1.0, 0.125))
    for name in ("key", "query"):
        loud, soft = getattr(plain, name).weight, getattr(quiet, name).weight
        assert torch.equal(soft, torch.cat([0.125 * loud[:, :D], loud[:, D:]], 1))


# What it refuses


@pytest.mark.parametrize(
    "options, message",
    [
        ({"slots": 0}, "slots=0, want at least 1"),
        ({"top_k": 0}, "top_k=0, want at least 1"),
        ({"key_size": 0}, "key_size=0, want at least 1"),
        ({"key_input_scale": 0.0}, "key_input_scale=0.0, want a number above 0"),
        ({"threshold": -1.0}, "threshold=-1.0, want a cosine above -1; above 1 nothing is merged"),
        ({"similarity": "angle"}, "similarity='angle', want one of dot, scaled_dot, cosine, l2"),
        ({"weighting": "hard"}, "weighting='hard', want one of softmax, similarity, inverse_distance"),
        ({"row_content": "y"}, "row_content='y', want one of x, h, both"),
        ({"weighting": "inverse_distance"}, "with similarity='scaled_dot', want similarity=\"l2\""),
        ({"controller": lambda size: GRU(6, H)}, "input_size=6, want x 2 \\+ read 5 = 7"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_an_option_out_of_range_is_refused(options, message):
    with unchecked(), pytest.raises(ValueError, match=message):
        ClusteredMemory(D, **{"controller": partial(GRU, hidden_size=H), **options})
