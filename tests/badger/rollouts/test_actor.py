"""Actors: the actions of a rollout, one observation or a batch, seeds, masks, exported programs."""

import io
import re

import gymnasium
import numpy as np
import pytest
import torch

import badger
import toy_worlds
from badger import Greedy, Sampled, act, build_run, generator, initial_carry, rollout, sense
from badger.errors import UntrustedCode
from badger.rollouts.actor import Actor
from tasks import InputTape, Notes, PreviousActionReward
from toy_teams import Choosy
from toys import Herd, Steps, game, seeded, toy_agent

TINY = {"batch": 4, "core.hidden_size": 6, "outer_steps": 1, "device": "cpu"}


def saved(folder, recipe="gymnasium", **more):
    run = build_run(recipe, **TINY, **more)
    run.folder = folder
    run.save()
    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return saved(tmp_path_factory.mktemp("actor") / "run", mask_velocity=True).folder


def played(actor, deterministic=True):
    """Actions and observations of an episode of at most 30 steps."""
    env, state, steps = gymnasium.make("CartPole-v1", max_episode_steps=30), None, []
    obs, over = env.reset(seed=5)[0], False
    while not over:
        action, state = actor.predict(obs, state, deterministic=deterministic)
        steps.append((obs, int(action)))
        obs, _, terminated, truncated, _ = env.step(action)
        over = terminated or truncated
    return steps


@pytest.mark.parametrize("deterministic, policy", [(True, Greedy), (False, Sampled)])
def test_predictions_are_the_actions_of_a_rollout(deterministic, policy):
    task = Steps(steps=6, dtype=torch.float64)
    agent = toy_agent(task, core="episodic")
    actor = Actor(agent, task, Greedy(task.action_space), Sampled(task.action_space), seed=3)
    rng = seeded(3)
    env_state, step = task.reset(1, seeded(9))
    carry = initial_carry(agent, task, 1, seeded())
    start = agent.initial_state(step.obs, rng, None, 3)
    want, _ = rollout(agent, task, carry._replace(env_state=env_state, step=step, agent_state=start), rng,
                      policy(task.action_space), steps=4)  # fmt: skip
    state = None
    for t in range(4):
        mask = want.action_masks[t].numpy()
        action, state = actor.predict(want.obs[t].numpy(), state, None, deterministic, mask)
        if not want.valid[: t + 1].all():
            break
        assert action.tolist() == want.action[t].tolist()


def told(agent, task):
    return Actor(agent, task, Greedy(task.action_space), Sampled(task.action_space), seed=3)


def test_an_actor_remembers_its_last_action_and_is_told_its_reward():
    """What a rollout observes, of which the environment returns the first part and the reward."""
    task = PreviousActionReward(Steps(steps=6, dtype=torch.float64))
    agent, own = toy_agent(task), task.task.obs_size
    whole, parts = told(agent, task), told(agent, task)
    carry = initial_carry(agent, task, 3, seeded())
    lived, _ = rollout(agent, task, carry, seeded(), Greedy(task.action_space), steps=12)
    states = [None, None]
    for t in range(12):
        obs = lived.obs[t].numpy()
        reward = None if t == 0 else lived.reward[t - 1].numpy()
        start = lived.episode_start[t].numpy() if t else None
        first, states[0] = whole.predict(obs * [*[1] * (obs.shape[-1] - 1), 0], states[0], start)  # no flag of an end
        second, states[1] = parts.predict(obs[:, :own], states[1], start, reward=reward)
        states = [state._replace(previous=encoded(lived.action[t])) for state in states]
        assert first.tolist() == second.tolist()
        assert torch.equal(states[0].agent.y, states[1].agent.y)


def encoded(action):
    one_hot = torch.nn.functional.one_hot(action, 3).double()
    return torch.cat([one_hot, torch.ones_like(one_hot[:, :1])], -1)


def test_an_actor_that_observes_its_reward_is_refused_without_it():
    task = PreviousActionReward(Steps(dtype=torch.float64))
    actor, obs = told(toy_agent(task), task), np.zeros(task.task.obs_size)
    _, state = actor.predict(obs)
    with pytest.raises(ValueError, match=r"reward=None: this agent observes its last reward; want .*reward=reward"):
        actor.predict(obs, state)
    actor.predict(obs, state, True)  # an episode starts
    actor.predict(obs, state, reward=1.0)


def test_an_agent_of_a_gymnasium_environment_may_be_told_its_reward(tmp_path):
    run = saved(tmp_path / "run", mask_velocity=True, learner="dreamer", core="rssm")
    actor, env = badger.load_actor(run.folder), gymnasium.make("CartPole-v1")
    obs, state, reward = env.reset(seed=5)[0], None, None
    for _ in range(5):
        action, state = actor.predict(obs, state, reward=reward)
        obs, reward, *_ = env.step(action)


def test_a_single_observation_is_a_batch_of_one(folder):
    one, batch = (badger.load_actor(folder) for _ in range(2))
    obs = np.array([0.1, 0.2, 0.3, 0.4], np.float32)
    (a, _), (b, _) = one.predict(obs), batch.predict(obs[None])
    assert np.ndim(a) == 0 and b.shape == (1,) and a == b[0]


def test_the_same_seed_gives_the_same_sampled_actions(folder):
    first, again, other = (played(badger.load_actor(folder, seed=seed), False) for seed in (1, 1, 2))
    assert str(first) == str(again) != str(other)


def test_an_episode_start_resets_only_its_rows(folder):
    actor, obs = badger.load_actor(folder), np.ones((3, 4), np.float32)
    _, state = actor.predict(obs)
    _, kept = actor.predict(obs, state)
    _, reset = actor.predict(obs, state, np.array([True, False, False]))
    _, new = actor.predict(obs)
    assert torch.equal(reset.agent.y[1:], kept.agent.y[1:])
    assert torch.equal(reset.agent.y[0], new.agent.y[0]) and not torch.equal(reset.agent.y[0], kept.agent.y[0])


@pytest.mark.parametrize("allowed", [0, 1])
def test_masked_actions_are_not_taken(folder, allowed):
    actor, mask = badger.load_actor(folder), np.arange(2) == allowed
    assert actor.predict(np.zeros(4), action_mask=mask)[0] == allowed
    assert actor.predict(np.zeros((2, 4)), action_mask=[mask, mask], deterministic=False)[0].tolist() == [allowed] * 2


def test_the_mask_of_an_environment_is_read_in_its_own_form(tmp_path):
    folder = saved(tmp_path / "run", env="toy_worlds:masked_observation").folder
    actor, env = (
        badger.load_actor(folder, trusted=("toy_worlds",)),
        gymnasium.vector.SyncVectorEnv([toy_worlds.masked_observation] * 3),
    )
    (obs, _), state, start = env.reset(seed=0), None, None
    for _ in range(12):  # an illegal action raises
        action, state = actor.predict(obs, state, start, deterministic=False)
        obs, _, start, _, _ = env.step(action)
    one = {name: part[0] for name, part in obs.items()}
    assert one["action_mask"][actor.predict(one)[0] - 1]
    only = np.eye(5, dtype=np.int8)[3]  # another mask than that of the observation
    assert actor.predict(one, action_mask=only.tolist())[0] == actor.predict(obs, action_mask=[only] * 3)[0][2] == 4
    with pytest.raises(ValueError, match="action_mask has 2 rows, want those of obs, 3"):
        actor.predict(obs, action_mask=[only] * 2)


@pytest.mark.parametrize("mask", [np.ones(3), np.ones((1, 2))])
def test_a_mask_of_another_shape_is_refused(mask):
    task = Steps(dtype=torch.float64)
    actor = Actor(toy_agent(task), task, Greedy(task.action_space), None)
    with pytest.raises(ValueError, match=r"action_mask has the shape .*, want \(3,\), a value for each option"):
        actor.predict(np.zeros(task.obs_size), action_mask=mask if mask.ndim == 2 else np.ones(4))


def test_observations_of_other_spaces_and_actions_go_through_the_task(tmp_path):
    actor = badger.load_actor(saved(tmp_path / "run", env="MountainCarContinuous-v0").folder)
    env = gymnasium.make("MountainCarContinuous-v0")
    action, _ = actor.predict(env.reset(seed=0)[0])
    assert env.action_space.contains(action)
    actor = badger.load_actor(saved(tmp_path / "lake", env="FrozenLake-v1").folder)  # a number, one-hot for the agent
    assert np.ndim(actor.predict(7)[0]) == 0 and actor.predict(np.array([7, 8]))[0].shape == (2,)


def test_a_guess_is_predicted_in_the_environment_of_the_game(tmp_path):
    actor = badger.load_actor(saved(tmp_path / "run", "guessing_game", dims=3).folder)
    env = badger.to_gymnasium(badger.build_run("guessing_game", dims=3).learner.task)
    action, _ = actor.predict(env.reset(seed=0)[0])
    assert action.shape == (3,) and env.action_space.contains(action)
    with pytest.raises(ValueError, match="deterministic=False: the actions of this agent are not sampled"):
        actor.predict(env.reset(seed=0)[0], deterministic=False)


def actor_for(task):
    return Actor(toy_agent(task), task, Greedy(task.action_space), Sampled(task.action_space))


def test_choices_beside_numbers_are_predicted_for_the_environment_of_the_task():
    task = InputTape(length=2, symbols=3, timed=True, dtype=torch.float64)
    env, actor, state, over = badger.to_gymnasium(task), actor_for(task), None, False
    obs, info = env.reset(seed=0)
    while not over:
        action, state = actor.predict(obs, state, action_mask=info["action_mask"])
        assert env.action_space.contains(action) and action[0][1] == info["action_mask"][0][1].argmax()
        obs, _, over, _, info = env.step(action)
    several, _ = actor.predict(np.stack([obs, obs]), action_mask=[info["action_mask"]] * 2)
    assert [env.action_space.contains(action) for action in several] == [True, True]


def test_each_agent_predicts_choices_beside_numbers():
    task = Notes(Herd(dtype=torch.float64), 1, 1)
    agent = toy_agent(task, experts=task.agents)
    agent.sense = sense.Team(task.obs_size)
    agent.act = act.Team(agent.core.output_size, task.action_space.size, task.agents).double()
    env, actor = badger.to_parallel_env(task), Actor(agent, task, Greedy(task.action_space), None)
    obs, _ = env.reset(seed=0)
    rows = [obs.get(name, np.zeros(task.obs_size)) for name in env.possible_agents]
    actions = dict(zip(env.possible_agents, actor.predict(np.stack(rows))[0], strict=True))
    assert all(env.action_space(name).contains(action) for name, action in actions.items())
    env.step({name: actions[name] for name in env.agents})


def test_masks_of_several_choices_are_read_as_a_space_samples_them():
    task = Choosy(bits=2, dtype=torch.float64)
    obs, info = badger.to_gymnasium(task).reset(seed=0)
    assert actor_for(task).predict(obs, action_mask=info["action_mask"])[0][0] == 1


@pytest.mark.parametrize("shape", [(3,), (2, 3, 4), ()])
def test_an_observation_of_another_shape_is_refused(folder, tmp_path, shape):
    with pytest.raises(ValueError, match=rf"obs has the shape {re.escape(str(shape))}, want \(4,\), or"):
        badger.load_actor(folder).predict(np.zeros(shape))
    actor = badger.load_actor(saved(tmp_path / "run", "cartpole").folder)
    with pytest.raises(ValueError, match=rf"obs has the shape {re.escape(str(shape))}, want \(2,\), or \(batch, 2\)"):
        actor.predict(np.zeros(shape))


def test_a_state_of_another_batch_is_refused(folder):
    actor = badger.load_actor(folder)
    _, state = actor.predict(np.zeros((2, 4)))
    with pytest.raises(ValueError, match="obs has 3 rows, want those of state, 2"):
        actor.predict(np.zeros((3, 4)), state)


def test_an_actor_imports_no_code_that_is_not_trusted(tmp_path):
    saved(tmp_path / "run", env="toy_worlds:Counter", steps=5)
    with pytest.raises(UntrustedCode):
        badger.load_actor(tmp_path / "run")
    assert badger.load_actor(tmp_path / "run", trusted=("toy_worlds",)).predict(np.zeros(2))[0] in range(4)


def test_an_exported_program_gives_the_outputs_of_the_agent(folder):
    actor, file = badger.load_actor(folder), io.BytesIO()
    program, state = actor.export(batch=2)
    torch.export.save(program, file)
    file.seek(0)
    step, memory = torch.export.load(file).module(), None
    for obs in torch.randn(3, 2, 2, generator=generator(0, "obs")):
        output, *state = step(obs, *state)
        action, memory = actor.predict(np.insert(obs.numpy(), [1, 2], 0, axis=1), memory)  # hidden velocities
        assert output[:, :2].argmax(-1).tolist() == action.tolist()


def test_an_agent_with_an_append_only_memory_is_not_exported():
    task = game()
    with pytest.raises(ValueError, match="the agent's state holds a RowLog, want tensors only"):
        Actor(toy_agent(task, core="episodic"), task, badger.Greedy(task.action_space), None).export()
