"""The episodic store against a slow, obvious one: dicts of rows, all distances sorted."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from badger.learners.episodic_control import table
from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.episodic_control.table import MovingAverage

ACTIONS, SIZE = 2, 2
KEYS = np.array([[x, y] for x in (-1.5, -0.0, 0.0, 2.0) for y in (0.25, 1.0)])  # with both zeros


UPDATES = (torch.maximum, MovingAverage(0.25))


class SlowStore:
    """Rows of each action in a list, oldest first: [key, value, time of last use, row number]."""

    def __init__(self, capacity, update):
        self.capacity, self.update, self.clock = capacity, update, 0
        self.rows = [[] for _ in range(ACTIONS)]

    def write(self, key, action, value):
        for a in range(ACTIONS):
            for k, v in zip(key[action == a], value[action == a], strict=True):
                self.write_one(self.rows[a], k, v)

    def write_one(self, rows, key, value):
        self.clock += 1
        for row in rows:
            if all(row["key"] == key):
                row["value"] = float(self.update(torch.tensor(row["value"]), torch.tensor(value)))
                row["used"] = self.clock
                return
        new = {"key": key, "value": value, "used": self.clock}
        if len(rows) < self.capacity:
            rows.append(new)
        else:
            oldest = min(range(len(rows)), key=lambda i: rows[i]["used"])
            rows[oldest] = new

    def query(self, key, action, k):
        ranked = sorted(
            (sum((a - b) ** 2 for a, b in zip(row["key"], key, strict=True)), i)
            for i, row in enumerate(self.rows[action])
        )[:k]
        values = [self.rows[action][i]["value"] for _, i in ranked]
        return values, [d for d, _ in ranked], [i for _, i in ranked]


@st.composite
def writes(draw):
    count = draw(st.integers(1, 6))
    chosen = draw(st.lists(st.integers(0, len(KEYS) - 1), min_size=count, max_size=count))
    action = draw(st.lists(st.integers(0, ACTIONS - 1), min_size=count, max_size=count))
    value = draw(st.lists(st.sampled_from([-1.0, 0.5, 3.0]), min_size=count, max_size=count))
    return KEYS[chosen], np.array(action), np.array(value)


@settings(max_examples=40, deadline=None)
@given(st.lists(writes(), max_size=6), st.integers(1, 9), st.integers(1, 5), st.sampled_from(UPDATES))
def test_the_store_equals_a_slow_one(sequence, capacity, k, update):
    store, slow = EpisodicStore(ACTIONS, SIZE, capacity=capacity, update=update).double(), SlowStore(capacity, update)
    for key, action, value in sequence:
        store.write(torch.tensor(key), torch.tensor(action), torch.tensor(value))
        slow.write(key, action, value)
        assert store.counts == [len(rows) for rows in slow.rows]
        for a in range(ACTIONS):
            found = store.query(torch.tensor(KEYS), a, k)
            expected = [slow.query(key, a, k) for key in KEYS]
            for part, wanted in zip(found, zip(*expected, strict=True), strict=True):
                assert part.tolist() == list(wanted)
            stored, hit = store.lookup(torch.tensor(KEYS), torch.full((len(KEYS),), a))
            exact = [slow.query(key, a, 1) for key in KEYS]
            assert hit.tolist() == [bool(d) and d[0] == 0 for _, d, _ in exact]
            assert stored.tolist() == [v[0] if d and d[0] == 0 else 0 for v, d, _ in exact]


def filled(**options):
    store = EpisodicStore(ACTIONS, SIZE, **options).double()
    store.write(KEYS, np.zeros(len(KEYS), dtype=int), np.arange(len(KEYS), dtype=float))
    return store


def test_tiles_do_not_change_what_is_found(monkeypatch):
    rng = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(300, 5, generator=rng), torch.randn(7, 5, generator=rng)
    store = EpisodicStore(1, 5)
    store.write(keys, torch.zeros(300, dtype=torch.long), torch.arange(300.0))
    whole = store.query(queries, 0, 4)
    monkeypatch.setattr("badger.learners.episodic_control.nearest.TILE", 7 * 20)
    assert all(torch.equal(a, b) for a, b in zip(whole, store.query(queries, 0, 4), strict=True))
    assert torch.equal(whole.rows, torch.cdist(queries, keys).topk(4, largest=False).indices)


def test_a_saved_store_is_loaded_bit_for_bit_and_continues_alike():
    store, file = filled(capacity=5), io.BytesIO()
    torch.save(store.state_dict(), file)
    file.seek(0)
    loaded = filled(capacity=5)
    loaded.load_state_dict(torch.load(file, weights_only=True))
    for each in (store, loaded):
        each.table(0).touch(torch.tensor([1, 3, 3]))
        each.write(KEYS[:3] + 7, np.array([0, 0, 1]), np.array([5.0, 6.0, 7.0]))
    saved, other = store.state_dict(), loaded.state_dict()
    assert saved.keys() == other.keys() and all(torch.equal(saved[name], other[name]) for name in saved)
    assert store.table(0).row_of == loaded.table(0).row_of


def test_a_row_that_was_touched_outlives_older_ones():
    store = filled(capacity=6)  # the four keys with x = 0 are two
    store.table(0).touch(torch.tensor([0]))
    store.write(KEYS[:2] + 7, np.zeros(2, dtype=int), np.zeros(2))
    assert store.lookup(torch.tensor(KEYS[:3]), torch.zeros(3, dtype=torch.long))[1].tolist() == [True, False, False]


def test_names_identify_rows_whose_keys_change():
    store = EpisodicStore(1, SIZE, update=MovingAverage(0.5)).double()
    name = np.array([[3.0]])
    store.write(KEYS[:1], np.array([0]), np.array([1.0]), name)
    store.write(KEYS[1:2], np.array([0]), np.array([2.0]), name)
    found = store.query(torch.tensor(KEYS[1:2]), 0, 3)
    assert (found.values.tolist(), found.squared_distances.tolist()) == ([[1.5]], [[0.0]])


def test_a_nudged_key_is_found_where_it_is_now():
    store = filled()
    store.table(0).nudge(torch.tensor([0, 0]), torch.tensor([[1.0, 0], [1.0, 0]]), torch.tensor([0.25, 0.25]))
    moved = torch.tensor(KEYS[:1]) + torch.tensor([2.0, 0])
    assert store.lookup(moved, torch.tensor([0]))[0].tolist() == [0.5]
    assert store.query(moved, 0, 1).squared_distances.tolist() == [[0.0]]


def test_a_key_with_nan_has_no_distances_and_no_value():
    store, key = filled(), torch.tensor([[torch.nan, 0.0]]).double()
    assert store.query(key, 0, 2).squared_distances.isnan().all()
    assert not store.lookup(key, torch.tensor([0]))[1].any()


def test_a_full_action_takes_no_room_of_the_others():
    store = filled(capacity=3)
    assert store.counts == [3, 0]
    store.write(KEYS[:1], np.array([1]), np.array([9.0]))
    assert store.counts == [3, 1] and store.query(torch.tensor(KEYS[:1]), 1, 5).values.tolist() == [[9.0]]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda s: s.write(np.zeros((1, 3)), np.array([0]), np.zeros(1)), r"shape \(1, 3\), want \(rows, 2\)"),
        (lambda s: s.query(torch.zeros(1, 3), 0, 1), r"shape \(1, 3\), want \(rows, 2\)"),
        (lambda s: s.write(np.full((1, 2), np.nan), np.array([0]), np.zeros(1)), "key 0 is .*want finite"),
        (lambda s: s.write(np.zeros((1, 2)), np.array([0]), np.array([np.inf])), "value 0 is inf, want finite"),
        (lambda s: s.write(np.zeros((1, 2)), np.array([2]), np.zeros(1)), "action=2, want 0 to 1"),
        (lambda s: s.write(np.zeros((1, 2)), np.array([0]), np.zeros(2)), "1 keys, 1 actions and 2 values"),
        (lambda s: s.query(torch.zeros(1, 2), 2, 1), "action=2, want 0 to 1"),
        (lambda s: s.query(torch.zeros(1, 2), 0, 0), "k=0, want at least 1"),
        (lambda s: EpisodicStore(1, 2, capacity=0), "capacity=0, want at least 1"),
        (lambda s: EpisodicStore(2, 2, capacity=2).load_state_dict(s.state_dict()), "capacity=2, and 6 rows"),
    ],
)
def test_bad_input_is_refused_in_words(wrong, message):
    with pytest.raises((ValueError, RuntimeError), match=message):
        wrong(filled())


def test_the_approximate_index_finds_most_neighbors_and_follows_writes(monkeypatch):
    pytest.importorskip("hnswlib")
    monkeypatch.setattr(table, "HNSW_ROWS", 50)
    rng = torch.Generator().manual_seed(0)
    keys, action = torch.randn(200, 4, generator=rng), torch.zeros(200, dtype=torch.long)
    exact, other = EpisodicStore(1, 4, capacity=150), EpisodicStore(1, 4, capacity=150, index="hnsw")
    for part in (slice(0, 100), slice(100, 200)):  # the second write overwrites rows
        for store in (exact, other):
            store.write(keys[part], action[part], torch.arange(200.0)[part])
        same = exact.query(keys, 0, 5).rows == other.query(keys, 0, 5).rows
        assert same.float().mean() > 0.95


def test_an_index_without_its_library_is_refused_before_anything_is_written(monkeypatch):
    monkeypatch.setattr("badger.learners.episodic_control.hnsw.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="index=hnsw needs the library hnswlib: pip install hnswlib"):
        EpisodicStore(1, 2, index="hnsw")
