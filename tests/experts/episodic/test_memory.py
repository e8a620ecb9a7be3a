"""Episodic memory equals the dense circular buffer, in outputs and all gradients, however it is stepped."""

from functools import partial
from math import log

import pytest
import torch
from torch.func import functional_call, grad, vmap
from torch.utils.checkpoint import checkpoint

import oracles
from badger.testing.contract import close
from badger.testing.core.cases import equal_runs, grads, noise, run
from badger.testing.core.stepping import compiled, unchecked
from experts import GRU, Core, EpisodicMemory, Private, RowLog
from experts import memory_metrics as measures
from experts import state as states
from experts.episodic import memory as episodic
from pairwise import pairwise
from toy_memories import MEASURES, STORES, Unroll, absences, constant, ensemble, inputs, resets, stepped

D, H, B, N = 2, 3, 2, 2
OPTIONS = {
    "slots": 6,
    "top_k": 3,
    "similarity": "scaled_dot",
    "weighting": "softmax",
    "row_content": "both",
    "detach_rows": False,
}


def build(private: bool = False, **options) -> Core:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        memory = EpisodicMemory(D, partial(GRU, hidden_size=H), key_size=2, **{**OPTIONS, **options}).double()
    return Private(memory) if private else memory


def oracle(core: Core, xs, reset=None, present=None, without_grad=(), **options) -> torch.Tensor:
    memory = core.core if isinstance(core, Private) else core
    return oracles.episodic_memory(
        dict(memory.named_parameters()),
        xs,
        private=isinstance(core, Private),
        reset=reset,
        present=present,
        without_grad=without_grad,
        **{**OPTIONS, **options},
    )


# Equal to the oracle


@pairwise(
    measure=map(" ".join, MEASURES), row_content=["x", "h", "both"], detach_rows=[False, True], private=[True, False]
)
def test_every_combination_of_options_equals_the_oracle(measure, row_content, detach_rows, private):
    similarity, weighting = measure.split()
    options = {"similarity": similarity, "weighting": weighting, "row_content": row_content, "detach_rows": detach_rows}
    core, xs, episodes = build(private, **options), inputs(9), {"reset": resets(9), "present": absences(9)}
    equal_runs(core, xs, stepped(core, xs, **episodes)[0], oracle(core, xs, **episodes, **options))


@STORES
@pytest.mark.parametrize("detach_rows", [False, True], ids=["attached", "detached"])
@pytest.mark.parametrize("row_size, row_content", [(1, "both"), (2, "h"), (7, "x")])
def test_compressed_rows_equal_the_oracle(row_size, row_content, detach_rows, private):
    options = {"row_content": row_content, "detach_rows": detach_rows}
    core, xs, episodes = build(private, row_size=row_size, **options), inputs(9), {"reset": resets(9)}
    ys, passed = stepped(core, xs, **episodes)
    assert passed[-1].log.store.values.shape[-1] == row_size
    equal_runs(core, xs, ys, oracle(core, xs, **episodes, **options))


def test_an_unroll_over_compressed_rows_equals_the_oracle():
    core, xs, reset = build(row_size=2), inputs(9), resets(9)
    equal_runs(core, xs, core.unroll(xs, core.initial_state(xs[0]), reset)[0], oracle(core, xs, reset))


@STORES
@pytest.mark.parametrize("top_k", [1, 2, 5, 6, 50])
def test_any_number_of_rows_may_be_read(top_k, private):
    core, xs = build(private, top_k=top_k), inputs(9)
    equal_runs(core, xs, stepped(core, xs)[0], oracle(core, xs, top_k=top_k))


@STORES
@pytest.mark.parametrize("slots", [2, 3, 5, 8, 20, 64])
def test_the_oldest_row_is_overwritten(slots, private):
    """A shared window moves by whole steps, also where the members do not divide the slots."""
    core, xs = build(private, slots=slots), inputs(12)
    equal_runs(core, xs, stepped(core, xs)[0], oracle(core, xs, slots=slots))


def test_one_slot_holds_the_step_before():
    core, xs = build(slots=1, top_k=1), inputs(6, n=1)
    equal_runs(core, xs, stepped(core, xs)[0], oracle(core, xs, slots=1, top_k=1))


@STORES
def test_a_row_of_the_batch_forgets_when_it_is_reset(private):
    core, xs = build(private), inputs(12)
    equal_runs(core, xs, stepped(core, xs, resets(12))[0], oracle(core, xs, resets(12)))


@STORES
def test_an_absent_member_leaves_a_void_row(private):
    core, xs, present = build(private, slots=4), inputs(12), absences(12)
    got, _ = stepped(core, xs, present=present)
    equal_runs(core, xs, got, oracle(core, xs, present=present, slots=4))


@pytest.mark.parametrize("slots", [5, 40])
def test_a_long_episode_equals_the_oracle_though_its_storage_moves(slots):
    core, xs = build(slots=slots), inputs(140, batch=1, n=1)
    ys, passed = stepped(core, xs)
    assert len({id(state.log.store) for state in passed}) > 2
    equal_runs(core, xs, ys, oracle(core, xs, slots=slots))


def test_more_members_than_a_first_storage_holds_rows():
    core, xs = build(slots=120), inputs(4, batch=1, n=40)
    equal_runs(core, xs, stepped(core, xs)[0], oracle(core, xs, slots=120))


# However it is stepped


WAYS = {
    "branched": lambda core, x, state, present: (core(x + 1, state, present), core(x, state, present))[1],
    "branched_behind": lambda core, x, state, present: (core(x, state, present), core(x + 1, state, present))[0],
    "checkpointed": lambda core, *step: checkpoint(core, *step, use_reentrant=False),
    "rebuilt": lambda core, x, state, present: core(x, states.index(state, torch.arange(B)), present),
    "chosen": lambda core, x, state, present: core(x, states.where(torch.arange(B) > 0, state, state), present),
}


@STORES
@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("slots", [5, 64])
def test_every_way_to_step_equals_the_oracle(way, slots, private):
    core, xs = build(private, slots=slots), inputs(40)
    episodes = {"reset": resets(40), "present": absences(40)}
    got, _ = stepped(core, xs, **episodes, step=partial(WAYS[way], core))
    equal_runs(core, xs, got, oracle(core, xs, **episodes, slots=slots))


@STORES
@pytest.mark.parametrize("slots", [5, 64])
def test_stepping_from_an_old_state_again_leaves_the_episode_as_it_was(slots, private):
    core, xs = build(private, slots=slots), inputs(20)
    ys, passed = stepped(core, xs)
    run(core, xs + 1, passed[4])
    equal_runs(core, xs, ys, oracle(core, xs, slots=slots))


@STORES
@pytest.mark.parametrize("slots", [5, 64])
def test_checkpointed_segments_equal_the_oracle(slots, private):
    core, xs, reset = build(private, slots=slots), inputs(40), resets(40)
    state, ys = core.initial_state(xs[0]), []
    for segment, begins in zip(xs.split(7), reset.split(7), strict=True):
        y, state = checkpoint(core.unroll, segment, state, begins, use_reentrant=False)
        ys.append(y)
    equal_runs(core, xs, torch.cat(ys), oracle(core, xs, reset, slots=slots))


@STORES
def test_compiled_steps_equal_the_oracle(private):
    core, xs, reset, present = build(private, slots=5), inputs(40), resets(40), absences(40)
    with compiled(core) as step:
        got, _ = stepped(core, xs, reset, present, step=step)
    equal_runs(core, xs, got, oracle(core, xs, reset, present, slots=5))


def test_a_step_is_not_compiled_again_and_again():
    core, xs, graphs = build(slots=5), inputs(40), []

    def count(graph, example_inputs):
        graphs.append(graph)
        return graph.forward

    with compiled(core, count) as step:
        _, state = run(step, xs[:3], core.initial_state(xs[0]))
        warm = len(graphs)
        run(step, xs[3:], state)
    assert 0 < warm == len(graphs)


@STORES
@pytest.mark.parametrize("slots", [5, 64])
@pytest.mark.parametrize("similarity, weighting", [("scaled_dot", "softmax"), ("l2", "inverse_distance")])
def test_memories_under_vmap_equal_the_oracle(slots, similarity, weighting, private):
    options = {"slots": slots, "similarity": similarity, "weighting": weighting}
    core, xs = build(private, **options), inputs(35)
    episodes = {"reset": resets(35), "present": absences(35)}
    unroll, stacked = Unroll(core, **episodes), ensemble(core)
    ys = vmap(lambda weights: functional_call(unroll, weights, (xs,)))(stacked)
    got = grads(ys, xs, *stacked.values())
    want = []
    for i in range(len(ys)):
        with torch.no_grad():
            for p, value in zip(core.parameters(), stacked.values(), strict=True):
                p.copy_(value[i])
        want.append(oracle(core, xs, **episodes, **options))
        close(ys[i], want[i])
        coefficients = noise(*ys.shape, seed=9)[i]
        own_weight = torch.autograd.grad((want[i] * coefficients).sum(), list(core.parameters()))
        for stack, one in zip(got[1:], own_weight, strict=True):
            close(stack[i], one)


@STORES
@pytest.mark.parametrize("slots", [5, 64])
def test_gradients_inside_vmap_equal_those_outside(slots, private):
    core, xs = build(private, slots=slots), inputs(35)
    unroll, stacked = Unroll(core, reset=resets(35)), ensemble(core)

    def loss(weights, x):
        return functional_call(unroll, weights, (x,)).square().sum()

    inside = vmap(grad(loss), in_dims=(0, None))(stacked, xs.detach())
    for i in range(3):
        weights = {name: p[i].detach().requires_grad_() for name, p in stacked.items()}
        outside = torch.autograd.grad(loss(weights, xs.detach()), list(weights.values()))
        for stack, one in zip(inside.values(), outside, strict=True):
            close(stack[i], one)


def test_a_log_outside_of_vmap_does_not_swallow_rows_from_inside():
    """Folded into the stores it would be copied, and what is written into the copy be lost."""
    core, xs = build(slots=40), inputs(3)
    keys, values = noise(B, 4, 2), noise(B, 4, D + H)

    class Known(Unroll):
        def forward(self, xs):
            return run(self.core, xs, self.core.initial_state(xs[0])._replace(log=RowLog.from_rows(keys, values, 40)))[
                0
            ]

    with pytest.raises(RuntimeError, match="but not the log that they are written to"):
        vmap(lambda weights: functional_call(Known(core), weights, (xs.detach(),)))(ensemble(core))


def test_episodes_under_vmap_equal_a_batch_of_them():
    core, xs = build(slots=5), inputs(35, batch=3)
    alone = vmap(lambda x: stepped(core, x.unsqueeze(1))[0].squeeze(1), in_dims=1, out_dims=1)(xs)
    equal_runs(core, xs, alone, stepped(core, xs)[0])


@pytest.mark.parametrize("similarity, weighting", MEASURES)
def test_gradients_are_those_of_finite_differences(similarity, weighting):
    core = build(slots=4, top_k=2, similarity=similarity, weighting=weighting)
    unroll, xs = Unroll(core), inputs(5, batch=1)
    named = {name: p.detach().requires_grad_() for name, p in unroll.named_parameters()}

    def episode(x, *weights):
        return functional_call(unroll, dict(zip(named, weights, strict=True)), (x,))

    assert torch.autograd.gradcheck(episode, (xs, *named.values()), fast_mode=True)


def test_many_gradients_may_be_asked_for_at_once():
    core, xs = build(), inputs(9)
    ys, _ = stepped(core, xs)
    rows = noise(4, *ys.shape)
    (batched,) = torch.autograd.grad(ys, xs, rows, is_grads_batched=True, retain_graph=True)
    for row, got in zip(rows, batched, strict=True):
        close(got, torch.autograd.grad(ys, xs, row, retain_graph=True)[0])


# Gradient mode and the graph


@STORES
@pytest.mark.parametrize("slots", [8, 50])
def test_storage_is_bounded_without_gradients(slots, private):
    core, xs = build(private, slots=slots), inputs(300)
    with torch.no_grad():
        _, passed = stepped(core, xs)
    logs = [state.log for state in passed]
    n = 1 if private else N
    assert max(log.store.keys.shape[1] for log in logs) <= max(2 * slots, slots + 32 * n)


@STORES
def test_outputs_are_the_same_without_gradients(private):
    core, xs = build(private), inputs(200)
    with torch.no_grad():
        ys, _ = stepped(core, xs, resets(200), absences(200))
    close(ys, stepped(core, xs, resets(200), absences(200))[0].detach())


@STORES
@pytest.mark.parametrize("without_grad", [{0}, {4}, {3, 4, 9}, range(5), range(5, 12)], ids=str)
def test_a_step_without_gradients_detaches_the_log(without_grad, private):
    core, xs = build(private), inputs(12)
    got, _ = stepped(core, xs, without_grad=without_grad)
    equal_runs(core, xs, got, oracle(core, xs, without_grad=without_grad))


def test_rows_are_written_in_place():
    core, xs = build(), inputs(10)
    _, passed = stepped(core, xs)
    assert {state.log.store.keys.data_ptr() for state in passed[2:]} == {passed[2].log.store.keys.data_ptr()}


def test_a_graph_may_be_kept_and_walked_again():
    core, xs = build(), inputs(9)
    ys, _ = stepped(core, xs)
    for first, again in zip(grads(ys, xs, *core.parameters()), grads(ys, xs, *core.parameters()), strict=True):
        assert first.equal(again)


def test_a_second_backward_pass_without_the_graph_is_refused():
    core, xs = build(), inputs(4)
    ys, _ = stepped(core, xs)
    ys.sum().backward()
    with pytest.raises(RuntimeError, match="second time"):
        ys.sum().backward()


def test_a_gradient_of_a_gradient_is_refused():
    core, xs = build(), inputs(4)
    ys, _ = stepped(core, xs)
    with pytest.raises(RuntimeError, match="no second derivatives"):
        torch.autograd.grad(ys.square().sum(), xs, create_graph=True)


# Who reads what


def test_members_of_a_shared_store_read_each_other():
    core, xs = build(), inputs(4)
    (grad_x,) = grads(stepped(core, xs)[0][-1, :, 0], xs)
    assert grad_x[0, :, 1].any()


def test_members_with_stores_of_their_own_do_not_read_each_other():
    core, xs = build(private=True), inputs(4)
    (grad_x,) = grads(stepped(core, xs)[0][-1, :, 0], xs)
    assert not grad_x[:, :, 1].any()


def test_a_member_that_joins_a_shared_store_reads_what_the_others_wrote():
    core, xs, later = build(slots=64), inputs(5), noise(4, B, N, D, seed=1)
    _, state = run(core, xs[:, :, :1])
    joined, _ = run(core, later, core.select_members(state, torch.tensor([0, -1]), later[0]))
    present = torch.tensor([True, False]).expand(5, B, N)
    _, waited = run(core, xs, present=present)
    equal_runs(core, xs, joined, run(core, later, waited)[0])


def test_the_last_row_of_a_state_may_be_reset_in_one_episode_only():
    core, xs, mask = build(), inputs(9), torch.tensor([True, False])
    _, state = run(core, xs)
    state = states.where(mask, core.initial_state(xs[0]), state)
    assert core.metrics(state)["slots_used"].tolist() == [0, OPTIONS["slots"]]


def test_episodes_of_different_lengths_may_be_mixed():
    core, xs = build(), inputs(20)
    short, long = run(core, xs[:3])[1], run(core, xs)[1]
    for a, b in ((short, long), (long, short)):
        mixed = run(core, xs, states.where(torch.tensor([True, False]), a, b))[0]
        whole = torch.cat([run(core, xs, a)[0][:, :1], run(core, xs, b)[0][:, 1:]], 1)
        equal_runs(core, xs, mixed, whole)


def test_a_mixed_episode_still_forgets_what_was_before_its_reset():
    core, xs, mask = build(slots=12), inputs(20), torch.tensor([True, False])
    short, long = run(core, xs[:2])[1], run(core, xs)[1]
    _, short = run(core, xs[2:3], states.where(mask, core.initial_state(xs[0]), short))
    got, _ = run(core, xs, states.where(mask, short, long))
    equal_runs(core, xs, got[:, :1], run(core, torch.cat([xs[2:3], xs]))[0][1:, :1])


def test_mixed_episodes_keep_their_rows_on_slots_of_their_own():
    core, xs = build(top_k=6), inputs(20)
    short, long = run(core, xs[:1])[1], run(core, xs)[1]
    _, state = core(xs[0], states.where(torch.tensor([True, False]), long, short))
    assert (core.read_weights(state)[0] > 0).sum(-1).tolist() == [6, 6]


# What it reports


def test_read_weights_sum_to_one_once_there_is_a_row():
    core, xs = build(), inputs(20)
    _, passed = stepped(core, xs)
    sums = torch.stack([core.read_weights(state).sum(-1) for state in passed[1:]])
    close(sums, torch.ones(20, B, N, dtype=torch.double) * (torch.arange(20) > 0).view(-1, 1, 1))


def test_positions_count_rows_since_the_episode_began_though_the_storage_moves():
    core, xs = build(slots=4, top_k=4), inputs(80, n=1)
    _, passed = stepped(core, xs)
    for t, state in enumerate(passed[1:]):
        newest = [*range(max(0, t - 4), t)]
        assert state.positions[0, 0].sort().values.tolist() == [-1] * (4 - len(newest)) + newest


def test_read_weights_lie_on_the_slots_of_their_rows():
    core, xs = build(slots=5, top_k=2), inputs(80)
    for state in stepped(core, xs)[1][3:]:
        spread = core.read_weights(state)
        close(spread.gather(-1, state.positions % 5), state.weights)
        assert ((spread > 0).sum(-1) == 2).all()


def test_slots_used_counts_rows_up_to_the_slots():
    core, xs = build(slots=6), inputs(6)
    counts = [core.metrics(state)["slots_used"].tolist() for state in stepped(core, xs)[1]]
    assert counts == [[0, 0], [0, 0], [2, 2], [4, 4], [6, 6], [6, 6], [6, 6]]


def test_slots_used_counts_anew_after_a_reset():
    core, xs = build(slots=6), inputs(20)
    _, state = run(core, xs)
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    _, state = run(core, xs[:3], state)
    assert core.metrics(state)["slots_used"].tolist() == [4, 6]


def test_absent_members_use_no_slots():
    core, xs = build(slots=64), inputs(6)
    _, state = run(core, xs, present=torch.tensor([True, False]).expand(6, B, N))
    assert core.metrics(state)["slots_used"].tolist() == [5, 5]


def test_rows_of_the_same_key_are_duplicates():
    core, xs = build(), inputs(6)
    different = core.metrics(run(core, xs)[1])["duplicate_rate"]
    constant(core.key)
    same = core.metrics(run(core, xs)[1])["duplicate_rate"]
    assert same.tolist() == [1, 1] and (different < 1).all()


def test_duplicates_of_many_rows_are_told_from_a_sample(monkeypatch):
    core, xs = build(slots=40), inputs(20)
    _, state = run(core, xs)
    exact = core.metrics(state)["duplicate_rate"]
    monkeypatch.setattr(measures, "CHUNK", 7)
    close(core.metrics(state)["duplicate_rate"], exact)  # parts change nothing
    monkeypatch.setattr(measures, "SAMPLE", 5)
    constant(core.key)
    assert core.metrics(run(core, xs)[1])["duplicate_rate"].tolist() == [1, 1]


def test_a_memory_too_large_for_a_picture_has_none():
    core, xs = build(slots=episodic.MAX_PLOTTED_SLOTS + 1), inputs(2)
    assert core.read_weights(run(core, xs)[1]) is None


def test_a_single_row_is_no_duplicate():
    core, xs = build(), inputs(2, n=1)
    assert core.metrics(run(core, xs)[1])["duplicate_rate"].tolist() == [0, 0]


def test_a_row_of_the_last_episode_makes_no_duplicate():
    core, xs = build(), inputs(6, n=1)
    constant(core.key)
    _, state = run(core, xs)
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    assert core.metrics(run(core, xs[:2], state)[1])["duplicate_rate"].tolist() == [0, 1]


def test_members_with_stores_of_their_own_report_their_mean():
    core, xs = build(private=True), inputs(5)
    present = torch.tensor([True, False]).expand(5, B, N)
    assert core.metrics(run(core, xs, present=present)[1])["slots_used"].tolist() == [2, 2]


def test_read_entropy_is_that_of_the_weights():
    core, xs = build(), inputs(6)
    constant(core.key)
    entropy = [core.metrics(state)["read_entropy"] for state in stepped(core, xs)[1][1:]]
    want = torch.tensor([0, log(2), log(3), log(3), log(3), log(3)], dtype=torch.double)
    close(torch.stack(entropy), want.unsqueeze(1).expand(6, B))


def test_a_memory_within_a_memory_reports_beside_it():
    inner = partial(EpisodicMemory, controller=partial(GRU, hidden_size=H), slots=3)
    core, xs = EpisodicMemory(D, inner, slots=16).double(), inputs(9)
    numbers = core.metrics(run(core, xs)[1])
    assert numbers["slots_used"].tolist() == [16, 16] and numbers["inner_slots_used"].tolist() == [2, 2]


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
        ({"row_size": 0}, "row_size=0, want at least 1"),
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
        EpisodicMemory(D, **{"controller": partial(GRU, hidden_size=H), **options})


def test_a_shared_store_smaller_than_a_step_is_refused():
    core = build(slots=3)
    with pytest.raises(ValueError, match="slots=3 with 4 members that share a store, want slots >= 4"):
        core.initial_state(torch.zeros(B, 4, D))
