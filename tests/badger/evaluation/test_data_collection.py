"""Recorded episodes of an agent are what it lived: checked by taking their actions again, step by step."""

import pytest
import torch

import badger
from badger.datasets import EpisodeDataset
from badger.datasets.from_rollout import first_episodes
from badger.evaluation.data_collection import default_batch, record_episodes, task_name
from badger.evaluation.evaluate import evaluate
from badger.policies.policies import Greedy, Sampled, identity_policy
from badger.policies.uniform import Uniform
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import CartPole, Copy, Discrete, Gymnasium, MultiDiscrete, PreviousActionReward, TMaze

SMALL = {"core.hidden_size": 4, "batch": 2, "device": "cpu"}


def build(recipe, **options):
    learner = badger.build_run(recipe, **SMALL, **options).learner
    return learner.agent, learner.task


def record(folder, recipe, episodes=9, seed=3, policy=Uniform, batch=4, **options):
    agent, task = build(recipe, **options)
    rng = torch.Generator().manual_seed(seed)
    options = {"policy": policy(task.action_space), "batch": batch}
    return task, record_episodes(agent, task, folder / "data.h5", episodes=episodes, rng=rng, **options)


@pytest.mark.parametrize("recipe", ["cartpole", "t_maze", "catch", "guessing_game", "dec_tiger"])
def test_recorded_steps_are_those_that_their_actions_cause(recipe):
    agent, task = build(recipe)
    carry = initial_carry(agent, task, 5, torch.Generator().manual_seed(0))
    state, rng, again = carry.env_state, torch.Generator().manual_seed(1), torch.Generator().manual_seed(1)
    policy = Uniform(task.action_space)
    trajectory, last = rollout(agent, task, carry, rng, policy, steps=task.steps, first_episodes=True)
    episodes, running = first_episodes(trajectory, last.step), torch.ones(5, dtype=torch.bool)
    for t in range(int(episodes.length.max())):
        policy(trajectory.output[t], None, (), again)  # as many random numbers as in the rollout
        state, step = task.step(state, trajectory.action[t], again)
        assert torch.equal(step.obs[running], episodes.obs[running, t + 1])  # the last one, too
        for name in ("reward", "terminated", "truncated"):
            assert torch.equal(getattr(step, name)[running], getattr(episodes, name)[running, t]), name
        over = step.terminated | step.truncated
        running = running & ~(over if over.dim() == 1 else over.all(-1))
        assert torch.equal(running, episodes.length > t + 1)
        if task.fixed_length is False and not running.all():
            break  # the rollout has drawn a new episode


@pytest.mark.parametrize("recipe", ["cartpole", "t_maze", "card_game", "guessing_game", "dec_tiger", "spread"])
def test_a_recording_of_any_task_passes_all_checks(recipe, tmp_path):
    task, data = record(tmp_path, recipe)
    data.check()
    data.check_task(task)
    assert len(data) == 9


def test_recorded_returns_are_those_of_an_evaluation(tmp_path):
    agent, task = build("cartpole")
    scores = evaluate(agent, task, 5, torch.Generator().manual_seed(0), Sampled(task.action_space))
    rng = torch.Generator().manual_seed(0)
    data = record_episodes(agent, task, tmp_path / "data.h5", episodes=5, rng=rng, policy=Sampled(task.action_space))
    assert torch.equal(data.returns, scores["return"])


def test_absent_agents_are_named_and_get_no_reward(tmp_path):
    _, data = record(tmp_path, "pettingzoo", env="toy_zoo:Meadow")
    data.check()
    episodes = data[:]
    active = episodes.info["active"]
    assert data.agents == 3 and not active[:, 0, 2].any()  # the calf comes in step 1, with a reward of 9 before it acts
    assert torch.equal(episodes.reward != 0, (episodes.action != 0) & active)


def test_masks_and_scores_are_kept(tmp_path):
    task, data = record(tmp_path, "card_game")
    episodes = data[:]
    assert episodes.action_mask is None or episodes.action_mask.shape[-1] == task.action_space.size
    assert set(episodes.info) >= {task.score}


def test_logits_of_a_differentiable_task_are_recorded_as_choices(tmp_path):
    task, data = record(tmp_path, "repeat_previous", policy=lambda space: identity_policy)
    assert task.differentiable
    assert data[:].action.dtype == torch.long and data.action_space == task.action_space
    data.check()


def test_an_episode_that_the_rollout_cuts_is_truncated():
    agent, task = build("cartpole")
    rng = torch.Generator().manual_seed(0)
    carry = initial_carry(agent, task, 3, rng)
    trajectory, carry = rollout(agent, task, carry, rng, Uniform(task.action_space), steps=2)
    episodes = first_episodes(trajectory, carry.step)
    EpisodeDataset.from_episodes(episodes, task.action_space).check()
    assert episodes.length.tolist() == [2, 2, 2] and episodes.truncated[:, 1].all() and not episodes.terminated.any()


def test_the_same_seed_records_the_same_file(tmp_path):
    files = []
    for name in "ab":
        (tmp_path / name).mkdir()
        record(tmp_path / name, "t_maze")
        files.append((tmp_path / name / "data.h5").read_bytes())
    assert files[0] == files[1]


def test_an_environment_that_fails_leaves_the_batches_before(tmp_path, monkeypatch):
    agent, task = build("t_maze")
    played = []

    def failing(*arguments, **options):
        played.append(1)
        if len(played) == 3:
            raise RuntimeError("the environment has failed")
        return play(*arguments, **options)

    from badger.evaluation import data_collection

    play = data_collection.play_episodes
    monkeypatch.setattr(data_collection, "play_episodes", failing)
    options = {"episodes": 9, "rng": torch.Generator(), "policy": Greedy(task.action_space), "batch": 3}
    with pytest.raises(RuntimeError, match="failed"):
        record_episodes(agent, task, tmp_path / "data.h5", **options)
    assert len(EpisodeDataset.load(tmp_path / "data.h5")) == 6
    with pytest.raises(FileExistsError, match=r"data.h5 exists: choose another file"):
        record_episodes(agent, task, tmp_path / "data.h5", **options)


@pytest.mark.parametrize(("wrong", "words"), [({"episodes": 0}, "episodes=0, want"), ({"batch": 0}, "batch=0, want")])
def test_sizes_below_1_are_refused(wrong, words, tmp_path):
    agent, task = build("t_maze")
    with pytest.raises(ValueError, match=words):
        record_episodes(agent, task, tmp_path / "d.h5", rng=torch.Generator(), **{"episodes": 3} | wrong)


def test_a_type_that_no_file_can_hold_is_refused(tmp_path):
    agent, _ = build("t_maze")
    with pytest.raises(ValueError, match=r"dtype=torch.bfloat16 of TMaze, want float16"):
        task = TMaze(dtype=torch.bfloat16)
        record_episodes(agent, task, tmp_path / "d.h5", episodes=1, rng=torch.Generator())


def test_a_batch_of_large_episodes_is_small():
    agent, _ = build("t_maze")
    assert default_batch(agent, TMaze(), None) == 1024
    assert default_batch(agent, TMaze(length=10**6), None) == 9
    assert default_batch(agent, CartPole(steps=10**9), None) == 1


def test_a_task_has_its_registered_name():
    tasks = (TMaze(), Copy(), PreviousActionReward(TMaze()))
    assert [task_name(task) for task in tasks] == ["t_maze", "copy", "t_maze"]
    assert task_name(CartPole(velocities=False)) == 'cart_pole {"velocities": false}'
    assert task_name(Gymnasium("CartPole-v1")) == "Gymnasium CartPole-v1"
    assert isinstance(Copy().action_space, Discrete | MultiDiscrete)
