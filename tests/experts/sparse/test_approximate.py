"""Approximate search of a sparse memory: recall, equality with exact search where all lists are searched, resume."""

from functools import partial

import pytest
import torch

from experts import LSTM, SAM, SDNC
from experts import state as states
from experts.sparse import approximate, inverted_file
from experts.sparse.slots import Slots

T, B, N, D, R, W = 12, 2, 2, 3, 48, 4


def noise(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def play(core, xs, present=None, state=None):
    state = core.initial_state(xs[0]) if state is None else state
    ys = []
    for t, x in enumerate(xs):
        y, state = core(x, state, None if present is None else present[t])
        ys.append(y)
    return torch.stack(ys), state


@pytest.fixture
def faiss(monkeypatch):
    """The library, and lists for few words."""
    monkeypatch.setattr(approximate, "FEWEST", 8)
    return pytest.importorskip("faiss")


def make(memory=SAM, probes=99, index="ivf"):
    torch.manual_seed(0)
    sizes = {"slots": R, "slot_size": W, "heads": 2, "top_k": 3, "index": index, "probes": probes}
    return memory(D, partial(LSTM, hidden_size=6), **sizes).double()


def start(core):
    """A state of exact search with words in all slots, loaded; they are listed at the next write."""
    x = noise(B, N, D)
    packed = states.pack(make(type(core), index="exact").initial_state(x))
    words = noise(B, R, W, seed=5)
    packed[1]["arrays"][:2] = words, words.square().sum(-1).rsqrt()
    return states.unpack(packed, core.initial_state(x))


def clustered(words, rng):
    """Directions around one in thirty as many centers."""
    centers = torch.randn(words // 30, 16, generator=rng)
    return centers[torch.randint(len(centers), (words,), generator=rng)] + 0.4 * torch.randn(words, 16, generator=rng)


def test_nine_of_ten_of_the_nearest_words_are_found_after_many_writes(faiss):
    rng = torch.Generator().manual_seed(0)
    slots = Slots.filled(clustered(6000, rng).unsqueeze(0), approximate.IVF(4, 8))
    for words in clustered(2000, rng).split(500):
        slots.nearest(words[:1].unsqueeze(0), 1)  # makes the lists, which follow the write
        rows = slots.least_recently_used(len(words), None).unsqueeze(-1)
        slots = slots.write(rows, None, torch.ones(1, len(words), 1), words.unsqueeze(0))
        slots = slots.mark_used(rows.flatten(1), torch.ones(1, len(words), dtype=torch.bool))
    query = slots.content()[:, ::60] + 0.1 * torch.randn(1, 100, 16, generator=rng)
    exact = slots._with(ivf=()).nearest(query, 4)
    found = slots.nearest(query, 4)
    recall = (found.unsqueeze(-1) == exact.unsqueeze(-2)).any(-1).double().mean()
    assert slots.ivf[0].centroids.shape == (64, 16) and 0.9 <= recall < 1


@pytest.mark.parametrize("memory", [SAM, SDNC])
@pytest.mark.parametrize("present", [None, noise(T, B, N, seed=3) > -0.5], ids=["plain", "with absent members"])
def test_a_search_of_all_lists_equals_exact_search_with_gradients(memory, present, faiss):
    xs = noise(T, B, N, D).requires_grad_()

    def gradients(index):
        core = make(memory, index=index)
        ys, state = play(core, xs, present, state=start(core))
        assert [ivf.centroids is not None for ivf in state.slots.ivf] == [True] * B * (index == "ivf")
        return ys, *torch.autograd.grad(ys.square().sum(), [xs, *core.parameters()], allow_unused=True)

    for got, want in zip(gradients("ivf"), gradients("exact"), strict=True):
        torch.testing.assert_close(got, want, rtol=1e-10, atol=1e-12)


def test_a_new_episode_is_searched_exactly_until_it_has_enough_words(faiss):
    core, xs = make(), noise(T, B, N, D)
    _, state = play(core, xs[:4], state=start(core))
    state = states.where(torch.tensor([True, False]), core.initial_state(xs[0]), state)
    assert [ivf.centroids is None for ivf in state.slots.ivf] == [True, False]
    ys, after = play(core, xs[:2], state=state)  # 2 members with 2 heads write 8 words
    assert all(ivf.centroids is not None for ivf in after.slots.ivf)
    torch.testing.assert_close(ys[:, :1], play(core, xs[:2, :1])[0], rtol=1e-10, atol=1e-12)


def test_centroids_are_learned_again_when_as_many_words_have_been_written(faiss):
    core, xs = make(), noise(R // 4, B, N, D)
    _, first = play(core, xs[:1], state=start(core))
    _, before = play(core, xs[1:], state=first)
    _, after = play(core, xs[:1], state=before)
    old, same, new = (state.slots.ivf[0].centroids for state in (first, before, after))
    assert old is same and not torch.equal(same, new)


@pytest.mark.parametrize("memory", [SAM, SDNC])
def test_a_search_of_few_lists_goes_on_alike_from_a_loaded_and_from_an_old_state(memory, faiss):
    core, xs = make(memory, probes=1), noise(T, B, N, D)
    _, middle = play(core, xs[:6], state=start(core))
    packed = states.pack(middle)
    want, _ = play(core, xs[6:], state=middle)
    other = make(memory, index="exact")
    exact, _ = play(other, xs[6:], state=states.unpack(packed, other.initial_state(xs[0])))
    assert not torch.allclose(want, exact)  # few lists are searched indeed
    for state in (states.unpack(packed, core.initial_state(xs[0])), middle, states.index(middle, torch.arange(B))):
        torch.testing.assert_close(play(core, xs[6:], state=state)[0], want, rtol=1e-10, atol=1e-12)


def test_a_mapped_axis_is_refused_in_words(faiss):
    core, xs = make(), noise(2, T, B, N, D)
    with pytest.raises(ValueError, match=r"index=ivf: faiss does not search under torch.func .*use index=exact"):
        torch.func.vmap(lambda part: play(core, part)[0])(xs)


def test_an_index_without_its_library_is_refused_with_the_extra_that_has_it(monkeypatch):
    monkeypatch.setattr(inverted_file, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match=r"index=ivf needs the library faiss: pip install 'badger-agents\[ivf\]'"):
        make()


@pytest.mark.parametrize(
    "options, message",
    [({"index": "hnsw"}, "index='hnsw', want exact or ivf"), ({"probes": 0}, "probes=0, want at least 1")],
)
def test_wrong_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        approximate.search_by(**{"index": "ivf", "probes": 1} | options)
