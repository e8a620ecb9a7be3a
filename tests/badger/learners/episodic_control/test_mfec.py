"""MFEC: best returns, greedy play of a deterministic world, and agents that carry their store with them."""

import numpy as np
import pytest
import torch

import badger
from badger.evaluation.evaluate import evaluate
from badger.learners.episodic_control.readout import exact_or_mean
from badger.learners.schedules import LinearEpsilon
from badger.rng import seeded_generator
from tasks import Catch

SMALL = Catch(rows=4, columns=3)


def make(**options):
    agent = badger.build_run("catch", rows=4, columns=3).learner.agent
    return badger.learners.MFEC(agent, SMALL, **{"key_size": 0, "horizon": 4} | options)


def test_a_stored_key_has_its_value_and_others_the_mean_of_their_neighbors():
    values, distances = torch.tensor([[1.0, 3.0], [1.0, 3.0]]), torch.tensor([[0.0, 2.0], [1.0, 2.0]])
    assert exact_or_mean(values, distances).tolist() == [1.0, 2.0]


def test_the_store_has_the_best_return_after_each_observation_and_action(monkeypatch):
    learner, best = make(gamma=0.5, exploration=LinearEpsilon(0.5, 0.5, 0), batch=2), {}
    add = learner.log.add

    def recorded(*args, **options):
        episodes = add(*args, **options)
        for episode in episodes:
            for t, (key, action) in enumerate(zip(episode.key, episode.action, strict=True)):
                return_ = sum(0.5**i * float(r) for i, r in enumerate(episode.reward[t:]))
                place = (tuple(key.tolist()), int(action))
                best[place] = max(best.get(place, -np.inf), return_)
        return episodes

    monkeypatch.setattr(learner.log, "add", recorded)
    for _ in range(20):
        metrics = learner.update()
    keys, actions = torch.tensor([key for key, _ in best]), torch.tensor([action for _, action in best])
    values, found = learner.store.lookup(keys, actions)
    assert found.all() and values.tolist() == list(best.values()) and len(learner.store) == len(best)
    assert 0 < metrics["hit_rate"] <= 1


def only_stored(values, distances):
    """The value of a stored key, and less than any return for others."""
    return torch.where(distances[:, 0] == 0, values[:, 0], -2.0)


def test_greedy_play_of_stored_actions_pays_at_least_the_best_episode_in_a_deterministic_world(monkeypatch):
    learner = make(gamma=0.9, exploration=LinearEpsilon(0.5, 0.5, 0))
    add, best = learner.log.add, [-1.0] * SMALL.columns  # for each ball, which is all that differs between episodes

    def recorded(*args, **options):
        episodes = add(*args, **options)
        for episode in episodes:
            ball = int(episode.key[0, : SMALL.columns].argmax())
            best[ball] = max(best[ball], float(episode.reward.sum()))
        return episodes

    monkeypatch.setattr(learner.log, "add", recorded)
    monkeypatch.setattr(learner.readout, "estimate", only_stored)
    for _ in range(25):
        learner.update()
        played = evaluate(learner.agent, SMALL, None, seeded_generator(0), learner.eval_policy)["return"]
        assert all(paid >= found for paid, found in zip(played.tolist(), best, strict=True))
    assert max(best) == 1


def test_an_evaluation_changes_no_row():
    learner = make()
    for _ in range(3):
        learner.update()
    before = {name: part.clone() for name, part in learner.agent.state_dict().items()}
    evaluate(learner.agent, learner.task, None, seeded_generator(0), learner.eval_policy)
    after = learner.agent.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in after)


def test_a_loaded_actor_plays_by_the_store(tmp_path):
    run = badger.build_run("catch", learner="mfec", outer_steps=30, rows=4, columns=3)
    run.folder = tmp_path / "run"
    badger.train(run, tensorboard=False)
    actor, agent = badger.load_actor(tmp_path / "run"), run.learner.agent
    assert len(actor.agent.act.store) == len(agent.act.store) > 0
    _, step = SMALL.reset_to(torch.tensor([0, 1, 2]), seeded_generator(0))
    state = agent.initial_state(step.obs, seeded_generator(0))
    assert actor.predict(step.obs.numpy())[0].tolist() == agent(step.obs, state)[0].argmax(-1).tolist()


def test_what_it_cannot_learn_is_refused_in_words():
    with pytest.raises(ValueError, match=r"core is a GRU.* MFEC .*--core feedforward"):
        badger.build_run("catch", learner="mfec", core="gru")
    with pytest.raises(ValueError, match="key_size=-1, want"):
        make(key_size=-1)
    with pytest.raises(ValueError, match="k=0, want at least 1 neighbor"):
        make(k=0)
    with pytest.raises(ValueError, match=r"Gymnasium: actions are .*mfec learns tasks.Discrete only"):
        badger.build_run("gymnasium", env="Pendulum-v1", core="feedforward", learner="mfec")
