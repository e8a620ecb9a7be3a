"""EMDQN: equal to DQN where the store has no say, and drawn to the best returns where it has."""

import pytest
import torch

import badger
from badger.testing.learner import differences, update

FLAGS = {"rows": 4, "columns": 3, "learner.prefill": 8}


def make(name="emdqn", **options):
    flags = {f"learner.{option}": value for option, value in options.items()}
    return badger.build_run("catch", learner=name, **FLAGS | flags).learner


def updates(learner, count=6):
    values = [update(learner) for _ in range(count)]
    return [{name: part for name, part in value.items() if name not in ("hit_rate", "store_rows")} for value in values]


def never_found(key, action):
    return torch.full((len(key),), 7.0), torch.zeros(len(key), dtype=torch.bool)


@pytest.mark.parametrize("silenced", ["lam", "misses"])
def test_it_equals_dqn_bit_for_bit_without_weight_or_with_misses_alone(silenced, monkeypatch):
    learner = make(lam=0.0 if silenced == "lam" else 1.0)
    if silenced == "misses":
        monkeypatch.setattr(learner.store, "lookup", never_found)
    for ours, dqn in zip(updates(learner), updates(make("dqn")), strict=True):
        assert differences(ours, dqn) == []


def test_hits_change_the_loss_and_their_rate_is_a_metric():
    learner, dqn = make(lam=1.0), make("dqn")
    for _ in range(6):
        metrics = learner.update()
        dqn.update()
    assert 0.5 < metrics["hit_rate"] <= 1 and metrics["store_rows"] > 3
    assert any(not torch.equal(a, b) for a, b in zip(learner.agent.parameters(), dqn.agent.parameters(), strict=True))


def test_the_second_term_is_the_squared_distance_from_the_best_return():
    learner = make(lam=0.5)
    for _ in range(3):
        learner.update()
    batch, _, _ = learner.replay_buffer.sample(8, torch.Generator().manual_seed(0))
    steps = batch.steps.map(lambda part: part[:1])
    q = torch.full(steps.action.shape, 0.25)
    best, found = learner.store.lookup(learner._keys(steps.obs)[0], steps.action[0])
    assert found.any()
    expected = torch.where(found, 0.5 * (0.25 - best) ** 2, 0)
    assert torch.allclose(learner.step_loss(steps, q, q)[0], expected)
