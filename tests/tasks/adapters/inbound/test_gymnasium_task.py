"""Environments of Gymnasium as tasks: steps, ends, spaces, scores, invalid input, and a training run."""

import sys
from dataclasses import replace
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete
from torch.testing import assert_close

import toy_worlds
from badger import build_run, evaluate, generator, read_metrics, train
from badger.policies.policies import Sampled
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import detach_carry, initial_carry
from badger.testing.task import TASK_PROPERTIES, VALUE_STATE_PROPERTIES
from tasks import Continuous, EnvError, Gymnasium
from tasks import Discrete as Choice
from tasks import MultiDiscrete as Choices
from tiny_runs import load_trusted
from toys import seeded, toy_agent

B = 3


@pytest.mark.parametrize("check", [name for name in TASK_PROPERTIES if name not in VALUE_STATE_PROPERTIES])
def test_a_gymnasium_task_keeps_the_contract(check):
    TASK_PROPERTIES[check](Gymnasium(dtype=torch.float64, steps=60))


def cartpoles(task, actions, seed=0):
    """Rewards and lengths of the episodes that gymnasium's own environments play, and all observations, by hand."""
    seeds = torch.randint(2**31 - 1, (B,), generator=seeded(seed)).tolist()
    for row, first in enumerate(seeds):
        env = gymnasium.make("CartPole-v1")
        results = [(env.reset(seed=first)[0], 0.0, False, False)]
        for given in actions[:, row].tolist():
            results.append(env.step(given)[:4])
            if any(results[-1][2:]):
                break
        yield results


def test_rows_equal_episodes_of_gymnasium():
    task = Gymnasium(dtype=torch.float64)
    actions = torch.randint(2, (80, B), generator=seeded(9))
    state, step = task.reset(B, seeded())
    steps = [step]
    for given in actions:
        state, step = task.step(state, given, seeded())
        steps.append(step)
    for row, results in enumerate(cartpoles(task, actions)):
        obs, reward, terminated, truncated = (np.stack(part) for part in zip(*results, strict=True))
        n = len(results)
        assert n < 80  # it fell
        assert_close(torch.stack([s.obs[row] for s in steps[:n]]), torch.from_numpy(obs).double(), rtol=0, atol=0)
        assert [s.reward[row].item() for s in steps[:n]] == reward.tolist()
        assert [s.terminated[row].item() for s in steps[:n]] == terminated.tolist()
        assert [s.truncated[row].item() for s in steps[:n]] == truncated.tolist()
        lengths = torch.stack([s.scores["episodic_length"][row] for s in steps])
        rewards = torch.stack([s.scores["episodic_return"][row] for s in steps])
        assert lengths[n - 1] == n - 1 and rewards[n - 1] == reward.sum()
        assert lengths.isfinite().sum() == rewards.isfinite().sum() == 1  # returned once, where it ends


def test_a_rollout_shows_the_last_observation_and_opens_a_new_episode_with_a_new_seed():
    task = Gymnasium(partial(toy_worlds.Counter, 3), steps=9, dtype=torch.float64)
    agent, rng = toy_agent(task), seeded()
    frames, _ = rollout(agent, task, initial_carry(agent, task, B, rng), rng, Sampled(task.action_space), steps=8)
    assert frames.obs[:, 0, 1].tolist() == [0, 1, 2, 3, 0, 1, 2, 3]
    assert frames.valid[:, 0].tolist() == [True] * 3 + [False] + [True] * 3 + [False]
    assert frames.terminated[:, 0].tolist() == [False, False, True, False, False, False, True, False]
    assert len(frames.obs[..., 0].unique()) == 2 * B
    paid = frames.reward.view(2, 4, B).sum(1)
    assert_close(frames.scores["episodic_return"][[2, 6]], paid, rtol=0, atol=0)
    assert (frames.scores["episodic_length"][[2, 6]] == 3).all()


def test_a_carry_is_rolled_out_once():
    task = Gymnasium(toy_worlds.Counter, steps=9, dtype=torch.float64)
    agent, rng = toy_agent(task), seeded()
    reset_step = initial_carry(agent, task, B, rng)
    _, later = rollout(agent, task, reset_step, rng, Sampled(task.action_space), steps=2)
    rollout(agent, task, detach_carry(later), rng, Sampled(task.action_space), steps=2)
    with pytest.raises(RuntimeError, match="cannot be rolled out twice from one state"):
        rollout(agent, task, reset_step, rng, Sampled(task.action_space), steps=2)


def test_masked_components_are_not_observed():
    whole, some, still = Gymnasium(), Gymnasium(mask_obs=(0, 2)), Gymnasium(mask_velocity=True)
    obs = [task.reset(B, seeded())[1].obs for task in (whole, some, still)]
    assert_close(obs[1], obs[0][:, [1, 3]])
    assert_close(obs[2], obs[0][:, [0, 2]])
    assert (whole.obs_size, some.obs_size, still.obs_size) == (4, 2, 2)


def test_observations_are_flattened_as_gymnasium_flattens_them():
    task = Gymnasium(partial(toy_worlds.Shown, toy_worlds.PARTS), steps=9, dtype=torch.float64)
    _, step = task.reset(B, seeded())
    seeds = torch.randint(2**31 - 1, (B,), generator=seeded()).tolist()
    for row, seed in enumerate(seeds):
        obs, _ = toy_worlds.Shown(toy_worlds.PARTS).reset(seed=seed)
        flat = gymnasium.spaces.flatten(toy_worlds.PARTS, obs)
        assert_close(step.obs[row], torch.from_numpy(flat).double())
    assert task.obs_size == 3 + 4 + 2 + 5


UNEVEN = Box(np.array([0, -2], np.float32), np.array([1, 2], np.float32))
ACTIONS = [
    (Discrete(3, start=5), Choice(3), torch.tensor([0, 1, 2]), [[5], [6], [7]]),
    (MultiDiscrete([2, 3]), Choices((2, 3)), torch.tensor([[0, 1], [1, 2]]), [[0, 1], [1, 2]]),
    (MultiDiscrete([2, 3], start=[1, 4]), Choices((2, 3)), torch.tensor([[0, 1]] * B), [[1, 5]] * B),
    (MultiBinary(2), Choices((2, 2)), torch.tensor([[0, 1]] * B), [[0, 1]] * B),
    (
        Box(-1, 1, (2,)),
        Continuous(2, -1.0, 1.0),
        torch.tensor([[0.5, 3], [-2, 0], [0, 0]]),
        [[0.5, 1], [-1, 0], [0, 0]],
    ),
    (Box(-2, 2, (1, 2)), Continuous(2, -2.0, 2.0), torch.tensor([[0.5, 2]] * B), [[[0.5, 2]]] * B),
    (UNEVEN, Continuous(2, -1.0, 1.0), torch.tensor([[0.0, 0.5], [-1, 2]]), [[0.5, 1], [0, 2]]),
]


@pytest.mark.parametrize(("space", "action", "given", "expected"), ACTIONS, ids=lambda part: str(part)[:20])
def test_actions_are_converted_to_the_space_of_the_environment(space, action, given, expected):
    task = Gymnasium(partial(toy_worlds.Asked, space), steps=9, dtype=torch.float64)
    assert task.action_space == action
    state, _ = task.reset(len(given), seeded())
    _, step = task.step(state, given, seeded())
    assert_close(step.obs, torch.tensor(expected).double().flatten(1))


def test_wrappers_are_kept():
    def doubled():
        return gymnasium.wrappers.TransformReward(gymnasium.make("CartPole-v1"), lambda reward: 2 * reward)

    task = Gymnasium(doubled)
    state, _ = task.reset(B, seeded())
    assert (task.step(state, torch.zeros(B, dtype=torch.long), seeded())[1].reward == 2).all()
    assert (task.steps, task.references()) == (500, {"episodic_return": {"threshold": 475.0}})


@pytest.mark.parametrize("env", ["CartPole-v1", toy_worlds.Counter, "toy_worlds:Counter"])
def test_an_environment_is_an_id_a_factory_or_a_name(env):
    task = Gymnasium(env, steps=7)
    assert task.steps == 7 and replace(task, dtype=torch.float64).reset(B, seeded())[1].obs.dtype == torch.float64


def test_options_reach_the_environment_and_steps_its_limit():
    task = Gymnasium("CartPole-v1", {"render_mode": "rgb_array"}, steps=1000)
    env = task._factory()
    assert (env.render_mode, env.spec.max_episode_steps, task.steps) == ("rgb_array", 1000, 1000)


BAD = [
    ({"env": "CartPoll-v1"}, r"env='CartPoll-v1' cannot be constructed: .*Did you mean: `CartPole`"),
    ({"env": "MiniGrid-Nowhere-v0"}, "an id of another package is package:id, as minigrid:MiniGrid-Empty-5x5-v0"),
    ({"env": toy_worlds.Spaceless}, "env='Spaceless' has the observation_space None, want a gymnasium.Space"),
    ({"env": "toy_worlds:Countre"}, "module toy_worlds has no function Countre"),
    (
        {"env": "no_such_module:make"},
        "No module named 'no_such_module'; pip install no_such_module, or run badger where",
    ),
    ({"env": dict}, "env='dict' returned a dict, want a single gymnasium.Env"),
    (
        {"env": partial(gymnasium.make_vec, "CartPole-v1")},
        "env='CartPole-v1' returned a CartPoleVectorEnv, want a single gymnasium.Env",
    ),
    ({"frame_stack": 0}, "frame_stack=0, want at least 1"),
    ({"steps": -1}, "steps=-1, want at least 1, or 0"),
    ({"mask_obs": (4,)}, "mask_obs: CartPole-v1 has no component 4, want 0 to 3"),
    ({"mask_obs": (0, 1, 2, 3)}, "hides all 4 of CartPole-v1"),
    (
        {"env": "toy_worlds:Counter", "steps": 5, "mask_velocity": True},
        "want one of CartPole-v0, .*mask_obs=",
    ),
    (
        {"env": toy_worlds.spoken_to, "steps": 5},
        r"spoken_to: action has the space Text.*, want Discrete, MultiDiscrete",
    ),
    ({"num_workers": 0}, "num_workers=0, want at least 1"),
    ({"timeout": 3.0, "num_workers": 1}, "set num_workers=2 or more"),
]


@pytest.mark.parametrize(("options", "message"), BAD)
def test_invalid_arguments_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        Gymnasium(**options)


@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_an_unknown_render_mode_is_refused_with_the_valid_ones():
    with pytest.raises(ValueError, match="render_mode='film', want one of CartPole-v1: human, rgb_array"):
        Gymnasium(options={"render_mode": "film"})


def test_logits_are_refused():
    task = Gymnasium()
    state, _ = task.reset(B, seeded())
    with pytest.raises(ValueError, match=r"want integers \(batch,\): CartPole-v1 gives no gradient to logits"):
        task.step(state, torch.zeros(B, 2), seeded())


def test_without_gymnasium_the_command_that_installs_it_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'gymnasium"):
        Gymnasium()


def test_popgym_is_served():
    pytest.importorskip("popgym")
    task = Gymnasium("popgym:popgym-RepeatPreviousEasy-v0", steps=60)
    state, step = task.reset(B, seeded())
    for _ in range(60):
        state, step = task.step(state, torch.zeros(B, dtype=torch.long), seeded())
    assert step.obs.shape == (B, task.obs_size) and (step.terminated | step.truncated).all()


# --- runs


def tiny(folder, env="toy_worlds:Counter", **arguments):
    sizes = {"env": env, "steps": 9, "core.hidden_size": 6, "batch": 2, "learner.horizon": 5, "outer_steps": 8}
    run = build_run("gymnasium", **sizes, device="cpu", **arguments)
    run.folder, run.save_every, run.log_every, run.inspect_every = folder, 2, 2, 100
    return run


def test_a_run_trains_resumes_with_new_episodes_and_is_evaluated(tmp_path):
    train(tiny(tmp_path / "run"), 3, quiet=True, tensorboard=False)
    run = load_trusted(tmp_path / "run")
    assert run.step == 3 and run.learner.stream is None
    train(run, quiet=True, tensorboard=False)
    assert run.step == 8 and run.learner.stream is not None
    task = run.learner.task
    assert [row["step"] for row in read_metrics(tmp_path / "run")] == list(range(1, 9))
    scores = evaluate(run.learner.agent, task, 4, generator(0, "evaluate"), Sampled(task.action_space))
    assert set(scores) == {"episodic_return", "episodic_length", "return"}
    assert_close(scores["episodic_return"], scores["return"])
    assert ((scores["episodic_length"] >= 3) & (scores["episodic_length"] <= 6)).all()


def test_a_run_whose_environment_fails_keeps_its_last_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(toy_worlds.Wearing, "left", 45)
    run = tiny(tmp_path / "run", "toy_worlds:Wearing")
    expected = r"Wearing, row \d \(seed \d+, step \d\) raised OSError in step: worn out(.|\n)*Last checkpoint: \S*run"
    with pytest.raises(EnvError, match=expected):
        train(run, quiet=True, tensorboard=False)
    monkeypatch.setattr(toy_worlds.Wearing, "left", 10**6)
    again = load_trusted(tmp_path / "run")
    assert again.step == run.step // 2 * 2 == 4
    train(again, quiet=True, tensorboard=False)
    assert again.step == 8


@pytest.mark.parametrize(("text", "message"), [("{", "is no JSON"), ("[1]", "want names and values in JSON")])
def test_options_of_a_recipe_are_json(text, message):
    with pytest.raises(ValueError, match=message):
        build_run("gymnasium", options=text)


def test_a_recipe_passes_its_flags_to_the_task():
    task = build_run(
        "gymnasium", options='{"render_mode": "rgb_array"}', mask_obs=(0,), mask_velocity=True, steps=30
    ).learner.task
    assert (task.options, task.obs_size, task.steps) == ({"render_mode": "rgb_array"}, 1, 30)
