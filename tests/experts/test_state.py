"""The verbs of states: nested tuples of tensors, logs and None."""

import io
from functools import partial
from typing import NamedTuple

import pytest
import torch
from torch import Tensor

from badger.testing.contract import close
from badger.testing.core.cases import noise, run, tensors, through_a_file
from badger.testing.core.stepping import unchecked
from experts import GRU, LSTM, EpisodicMemory, Private
from experts import state as states

T, B, N, D, H = 5, 3, 2, 2, 4


class Pair(NamedTuple):
    left: Tensor | None
    right: tuple


def tree(start: float = 0) -> tuple:
    """(B, N) everywhere, with a None."""
    grid = torch.arange(B * N, dtype=torch.double).view(B, N) + start
    return Pair(grid, (None, grid.unsqueeze(-1).expand(B, N, 2))), grid.unsqueeze(-1)


def same(got, want) -> bool:
    if not isinstance(want, tuple):
        return got is None if want is None else got.equal(want)
    return type(got) is type(want) and all(same(a, b) for a, b in zip(got, want, strict=True))


def memory(private: bool = True, slots: int = 4):
    core = EpisodicMemory(D, partial(LSTM, hidden_size=H), slots=slots, top_k=2, key_size=2).double()
    return Private(core) if private else core


def final(core, steps: int = T, seed: int = 0):
    return run(core, noise(steps, B, N, D, seed=seed))[1]


def test_map_visits_every_tensor_and_keeps_the_tuples():
    assert same(states.map(lambda leaf: leaf + 7, tree()), tree(7))


def test_where_takes_fresh_rows_under_the_mask():
    mask = torch.tensor([True, False, True])
    pair, last = states.where(mask, tree(100), tree())
    for leaf in (pair.left, pair.right[1][..., 0], last[..., 0]):
        assert leaf.tolist() == [[100, 101], [2, 3], [104, 105]]


def test_where_takes_a_mask_of_members():
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    pair, last = states.where(mask, tree(100), tree())
    for leaf in (pair.left, pair.right[1][..., 1], last[..., 0]):
        assert leaf.tolist() == [[100, 1], [2, 103], [4, 5]]


def test_index_takes_episodes_in_the_order_given():
    pair, last = states.index(tree(), torch.tensor([2, 0, 2, 1]))
    for leaf in (pair.left, last[..., 0]):
        assert leaf.tolist() == [[4, 5], [0, 1], [4, 5], [2, 3]]


def test_members_takes_members_in_the_order_given():
    pair, last = states.select_members(tree(), torch.tensor([1, 0, 1]))
    for leaf in (pair.left, last[..., 0]):
        assert leaf.tolist() == [[1, 0, 1], [3, 2, 3], [5, 4, 5]]


def test_fold_puts_members_behind_each_other():
    pair, last = states.fold(tree())
    assert pair.left.tolist() == [0, 1, 2, 3, 4, 5] and last.shape == (B * N, 1)


def test_unfold_undoes_fold():
    assert same(states.unfold(states.fold(tree()), N), tree())


def test_detach_cuts_every_tensor_off():
    state = states.detach(states.map(lambda leaf: leaf.requires_grad_(), states.map(torch.clone, tree())))
    assert not any(leaf.requires_grad for leaf in tensors(states.pack(state)))
    assert not state[1].requires_grad and same(state, tree())


def test_unpack_undoes_pack():
    assert same(states.unpack(states.pack(tree()), tree(50)), tree())


def test_one_tensor_in_two_places_is_one_tensor_after_a_file():
    tensor = torch.zeros(2)
    first, second, other = states.unpack(through_a_file(states.pack((tensor, tensor, tensor.clone()))), (tensor,) * 3)
    assert first is second and first is not other


# The log, seen through the verbs


def test_one_members_memory_may_be_replaced_by_a_fresh_one():
    core, later = memory(), noise(T, B, N, D, seed=1)
    state, mask = final(core), torch.tensor([[True, False], [False, True], [False, False]])
    got, _ = run(core, later, states.where(mask, core.initial_state(later[0]), state))
    continued, initial = run(core, later, state)[0], run(core, later)[0]
    close(got, torch.where(mask.unsqueeze(-1), initial, continued))


def test_one_members_memory_may_be_replaced_by_another_history():
    core, later = memory(), noise(T, B, N, D, seed=1)
    long, short = final(core, 9), final(core, 2, seed=3)
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    got, _ = run(core, later, states.where(mask, short, long))
    close(got, torch.where(mask.unsqueeze(-1), run(core, later, short)[0], run(core, later, long)[0]))


def test_memories_fold_into_episodes_of_one_member():
    core, later = memory(), noise(T, B, N, D, seed=1)
    state = final(core)
    got, _ = run(core.core, later.reshape(T, B * N, 1, D), states.fold(state))
    close(got.view(T, B, N, H), run(core, later, state)[0])


def test_a_picked_state_does_not_write_into_the_one_it_came_from():
    core, later = memory(private=False), noise(T, B, N, D, seed=1)
    state = final(core)
    want, _ = run(core, later, state)
    run(core, later + 1, states.index(state, torch.arange(B)))
    close(run(core, later, state)[0], want)


COPIES = {
    "detach": lambda state: states.detach(state),
    "index": lambda state: states.index(state, torch.arange(B)),
    "unpack": lambda state: states.unpack(states.pack(state), state),
    "where": lambda state: states.where(torch.arange(B) > 0, state, state),
}


@pytest.mark.parametrize("copied", COPIES)
@pytest.mark.parametrize("steps", [1, 2, 6])
def test_a_copied_memory_reports_what_the_original_did(copied, steps):
    core = memory(private=False, slots=5)  # a shared window of four rows, for two members
    state = final(core, steps)
    for got, want in zip(core.metrics(COPIES[copied](state)).values(), core.metrics(state).values(), strict=True):
        close(got, want)


def test_map_refuses_a_log():
    with pytest.raises(TypeError):
        states.map(torch.neg, final(memory()))


@pytest.mark.parametrize("private", [True, False], ids=["private", "shared"])
def test_unpack_takes_the_initial_state_of_any_batch_as_template(private):
    core, later = memory(private), noise(T, B, N, D, seed=1)
    state = final(core)
    template = core.initial_state(torch.zeros(7, N, D, dtype=torch.double))
    got, _ = run(core, later, states.unpack(states.pack(state), template))
    close(got, run(core, later, state)[0])


def test_a_packed_state_is_not_written_by_the_steps_that_follow():
    core, later = memory(), noise(T, B, N, D, seed=1)
    packed = states.pack(final(core))
    previous = [leaf.clone() for leaf in tensors(packed)]
    run(core, later, states.unpack(packed, core.initial_state(later[0])))
    assert all(leaf.equal(old) for leaf, old in zip(tensors(packed), previous, strict=True))


def test_a_saved_memory_is_as_large_as_its_window():
    core = memory(private=False, slots=100)
    file = io.BytesIO()
    torch.save(states.pack(run(core, noise(150, 50, 1, D))[1]), file)
    assert file.tell() < 1.1 * 8 * 50 * 100 * (core.key_size + core.value_size) + 20_000


def plain(packed) -> bool:
    if isinstance(packed, list | dict):
        parts = packed.values() if isinstance(packed, dict) else packed
        return type(packed) in (list, dict) and all(plain(part) for part in parts)
    return packed is None or type(packed) in (Tensor, int, bool)


def test_pack_gives_plain_types_without_a_graph():
    packed = states.pack((None, final(memory())))
    assert plain(packed) and not any(leaf.requires_grad for leaf in tensors(packed))


# What is refused


def x() -> Tensor:
    return torch.zeros(B, N, D)


@pytest.mark.parametrize("verb", [states.detach, states.fold, partial(states.map, torch.neg)])
def test_a_state_of_something_else_is_refused(verb):
    with pytest.raises(TypeError, match="a state holds tensors, Leaf objects, None and tuples of these; got list"):
        verb((torch.zeros(B, N), [1, 2]))


def test_states_of_different_structure_do_not_mix():
    gru, lstm = GRU(D, H).initial_state(x()), LSTM(D, H).initial_state(x())
    with pytest.raises(ValueError, match="want equally many"):
        states.where(torch.ones(B, dtype=torch.bool), gru, lstm)


@pytest.mark.parametrize(
    "of, into",
    [
        (GRU(D, H), LSTM(D, H)),
        (LSTM(D, H), memory().float()),
        (memory().float(), GRU(D, H)),
        (GRU(D, H), memory(private=False).float()),
    ],
    ids=["gru-lstm", "lstm-memory", "memory-gru", "gru-memory"],
)
def test_unpack_refuses_the_state_of_another_core(of, into):
    with pytest.raises(ValueError, match="packed state of a"):
        states.unpack(states.pack(of.initial_state(x())), into.initial_state(x()))


def test_unpack_refuses_a_tuple_where_a_tensor_belongs():
    gru = GRU(D, H).initial_state(x())
    with pytest.raises(ValueError, match="holds list where the core has Tensor"):
        states.unpack(states.pack((gru,)), gru)


def test_what_is_nothing_at_first_may_be_unpacked_as_a_tensor():
    assert same(states.unpack([x(), [None]], (None, (None,))), (x(), (None,)))


def test_unpack_refuses_what_is_no_log():
    state = final(memory())
    packed = states.pack(state)
    place = next(i for i, part in enumerate(packed) if isinstance(part, dict))
    for wrong in (x(), {"rows": x()}):
        with unchecked(), pytest.raises(ValueError, match="packed log: got"):
            states.unpack([*packed[:place], wrong, *packed[place + 1 :]], state)
