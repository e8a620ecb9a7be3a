"""NEC: gradients of the dictionary by finite differences, repeats, few rows."""

import torch
from torch.autograd import gradcheck

import badger
from badger.learners.episodic_control.episodes import Episode
from badger.learners.episodic_control.nearest import squared_distances
from badger.learners.episodic_control.nec import DictionaryRows
from badger.learners.episodic_control.readout import kernel_mean
from badger.learners.episodic_control.table import MovingAverage, Table
from badger.rng import seeded_generator


def make(**options):
    flags = {f"learner.{name}": value for name, value in options.items()}
    return badger.build_run("catch", learner="nec", rows=4, columns=3, **flags).learner


def filled_table():
    rng = torch.Generator().manual_seed(0)
    table = Table(3, 10, MovingAverage(0.1)).double()
    keys, values = torch.randn(6, 3, generator=rng).double().numpy(), torch.randn(6, generator=rng).double().numpy()
    table.write(keys, values, keys)
    return table, torch.randn(2, 3, generator=rng).double()


def test_gradients_reach_queries_keys_and_values():
    table, query = filled_table()
    rows = table.query(query, 4).rows

    def value(query, keys, values):
        return kernel_mean(values, squared_distances(query, keys))

    leaves = query.requires_grad_(), table.keys[rows].requires_grad_(), table.values[rows].requires_grad_()
    assert gradcheck(value, leaves)


def test_descent_moves_the_stored_rows_towards_the_target_and_uses_them():
    table, query = filled_table()
    before = table.used.clone()

    def loss():
        rows = DictionaryRows(table, table.query(query, 4).rows)
        return rows, (rows.value(query) - 3).square().sum()

    rows, first = loss()
    first.backward()
    keys, values = table.keys.clone(), table.values.clone()
    rows.descend(torch.tensor(0.01))
    used = torch.zeros(len(before), dtype=torch.bool)
    used[rows.rows] = True
    assert loss()[1] < first
    assert torch.equal(table.used > before, used)
    assert torch.equal((table.keys != keys).any(-1), used) and torch.equal(table.values != values, used)


def test_a_repeated_observation_moves_its_value_and_gets_its_present_key():
    learner = make(store_rate=0.5, prefill=10_000)
    obs, action = torch.eye(12)[:1].numpy(), torch.tensor([1]).numpy()
    for return_, number in ((1.0, 0.0), (3.0, 0.5)):
        key = torch.full((1, learner.store.key_size), number).numpy()
        reward, value = torch.tensor([return_]).numpy(), torch.zeros(2).numpy()
        metrics = learner._learn([Episode(key, action, reward, value, obs)], seeded_generator(0))
    found = learner.store.query(torch.from_numpy(key), 1, 50)  # fewer rows than neighbors
    assert (found.values.tolist(), found.squared_distances.tolist()) == ([[2.0]], [[0.0]])
    assert metrics["hit_rate"] == 1


def test_it_learns_from_fewer_rows_than_neighbors():
    learner = make(p=50)
    for _ in range(20):
        metrics = learner.update()
    assert metrics["finite"] and max(learner.store.counts) < 50
