"""Tasks as parallel environments of PettingZoo."""

import copy
import pickle
import sys
import warnings

import numpy as np
import pytest
import torch
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, render_test
from pettingzoo.utils.conversions import parallel_to_aec

from badger import TASKS, GuessingGame, Maze, PooledRecall, RepeatPrevious
from tasks import (
    AssociativeRecall,
    Continuous,
    DictionaryInference,
    Discrete,
    InputTape,
    Mixed,
    MultiDiscrete,
    Notes,
    to_parallel_env,
)
from tasks.adapters.outbound.rendering import COLORS, SIGNS
from tasks.adapters.outbound.spaces import to_action_space
from tasks.control.mazes.maze_tables import build_maze_tables
from toy_teams import Ballot, Choosy, Flock
from toys import Steps, Walk, seeded

CYCLES = 21  # most tasks end in fewer steps


BOTH = Mixed(MultiDiscrete((3, 2)), Continuous(1, -1, 2))
MAKE = TASKS | {
    "flock": Flock, "steps": Steps, "ballot": Ballot, "ballot of both": lambda: Ballot(kind=BOTH),
    "flock with notes": lambda: Notes(Flock(), 1, 1),
}  # fmt: skip
of_every_task = pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)


# --- pettingzoo's own tests


HARMLESS = ("infinity", "single number", "all zeros", "graphical", "probably should be", "not all possible_agents")


@of_every_task
def test_every_task_passes_the_test_of_parallel_environments(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        parallel_api_test(to_parallel_env(make()), num_cycles=CYCLES)
    assert [str(w.message) for w in caught if not any(word in str(w.message) for word in HARMLESS)] == []


@of_every_task
def test_every_task_passes_the_test_of_environments_in_turns(make):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        api_test(parallel_to_aec(to_parallel_env(make())), num_cycles=CYCLES)
    assert [str(w.message) for w in caught if not any(word in str(w.message) for word in HARMLESS)] == []


@of_every_task
def test_every_task_passes_the_test_of_seeds(make):
    parallel_seed_test(lambda: to_parallel_env(make()), num_cycles=CYCLES)


@of_every_task
def test_every_task_passes_the_test_of_pictures(make, capsys):
    render_test(lambda render_mode: parallel_to_aec(to_parallel_env(make(), render_mode=render_mode)))
    assert f"{type(make()).__name__}, step 0" in capsys.readouterr().out  # as it is opened, where people look on


# --- who the agents are


@pytest.mark.parametrize(
    ("task", "actions"),
    [
        (Maze(), [Discrete(4)]),
        (AssociativeRecall(bits=2), [Discrete(2)] * 2),
        (GuessingGame(dims=3), [Continuous(1)] * 3),
        (PooledRecall(experts=5, values=3), [Discrete(3)] * 5),
        (Ballot(kind=MultiDiscrete((2, 3))), [MultiDiscrete((2, 3))] * 3),
        (Ballot(kind=BOTH), [BOTH] * 3),
        (InputTape(2, symbols=2), [Discrete(3), Discrete(2), Continuous(1), Continuous(1)]),
        (Flock(), [Discrete(2)] * 3),
        (Notes(Flock(), 1, 1), [Mixed(MultiDiscrete((2, 3)), Continuous(1, -1, 1))] * 3),
    ],
    ids=lambda x: type(x).__name__,
)
def test_agents_are_those_of_the_task_its_rows_or_the_parts_of_its_action(task, actions):
    env = to_parallel_env(task)
    assert env.possible_agents == [f"expert_{i}" for i in range(len(actions))]
    for name, action in zip(env.possible_agents, actions, strict=True):
        space = env.action_space(name)
        assert space == to_action_space(action, torch.float32)
        assert env.observation_space(name).shape == (task.obs_size,)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_agents_of_parts_play_the_task_with_their_parts_joined(dtype):
    task = GuessingGame(3, 2, dtype=dtype)
    env = to_parallel_env(task)
    state, reset_step = task.reset(1, seeded())
    seen, _ = env.reset(seed=1, options={"initial": (state, reset_step)})
    for t in range(task.steps):
        assert all(
            np.array_equal(obs, reset_step.obs[0].numpy()) and obs.dtype == reset_step.obs.numpy().dtype
            for obs in seen.values()
        )
        guess = torch.tensor([[0.1 * t, -0.5]], dtype=dtype)
        state, reset_step = task.step(state, guess, seeded())
        seen, rewards, ended, cut, _ = env.step({f"expert_{i}": guess[0, i : i + 1].numpy() for i in range(2)})
        assert set(rewards.values()) == {reset_step.reward.item()} and not any(cut.values())
        assert all(type(reward) is float for reward in rewards.values())
        assert set(ended.values()) == {t == task.steps - 1}
    assert env.agents == []


def test_choices_and_numbers_are_an_agent_each():
    env = to_parallel_env(InputTape(2, symbols=2))
    env.reset(seed=0)
    env.step({"expert_0": 2, "expert_1": 1, "expert_2": np.array([0.5]), "expert_3": np.array([-3.0])})
    assert env.episode.actions[0].tolist() == [[2, 1, 0.5, -3]]


def test_each_agent_has_choices_and_numbers_of_its_own():
    env = to_parallel_env(Notes(Flock(), 1, 1))
    env.reset(seed=0)
    env.step({"expert_0": ([1, 2], [0.5]), "expert_2": (np.array([0, 1]), np.array([-1.0]))})
    assert env.episode.actions[0].tolist() == [[[1, 2, 0.5], [0, 0, 0], [0, 1, -1]]]
    with pytest.raises(ValueError, match=r"expert_0 gave the action \(\[1, 3\], \[0\]\), want a tuple of two"):
        env.step(dict.fromkeys(env.agents, ([1, 3], [0])))


def test_choices_side_by_side_are_an_agent_each():
    task = AssociativeRecall(bits=3)
    env = to_parallel_env(task)
    env.reset(seed=0)
    env.step({"expert_0": 1, "expert_1": np.int64(0), "expert_2": np.array(1)})
    assert torch.equal(env.episode.actions[0], torch.tensor([[1, 0, 1]]))


@pytest.mark.parametrize(
    ("kind", "votes", "done"),
    [
        (Discrete(3), [2, 0, 2], 2),
        (Discrete(3), [2, 1, 0], 0),  # of several the lowest
        (Discrete(3), [2, 1, 1], 1),
        (MultiDiscrete((3, 3)), [[2, 0], [2, 1], [0, 1]], 12),
        (Continuous(1), [[1.0], [2.0], [6.0]], 3.0),
        (BOTH, [([2, 0], [1.5]), ([2, 1], [0.0]), ([0, 1], [0.0])], 12 + 50),
    ],
)
def test_who_senses_a_row_of_its_own_has_a_vote(kind, votes, done):
    env = to_parallel_env(Ballot(kind=kind))
    seen, _ = env.reset(seed=0)
    assert [obs[0] for obs in seen.values()] == [0, 1, 2]
    _, rewards, *_ = env.step({f"expert_{i}": vote for i, vote in enumerate(votes)})
    assert rewards == dict.fromkeys(env.possible_agents, done)


def test_agents_can_appear_and_leave():
    env = to_parallel_env(Flock())
    seen, infos = env.reset(seed=0)
    assert set(seen) == set(infos) == {"expert_0", "expert_2"}
    there, ends = [env.agents], []
    while env.agents:
        results = env.step(dict.fromkeys(env.agents, 0))
        there.append(env.agents)
        ends.append(
            {name: (results[2][name], results[3][name]) for name in results[0] if results[2][name] or results[3][name]}
        )
        assert all(set(part) == set(results[0]) for part in results)
    every = ["expert_0", "expert_1", "expert_2"]
    assert there == [[every[0], every[2]], every, every[1:], every[2:], []]
    assert ends == [{}, {"expert_0": (True, False)}, {"expert_1": (False, True)}, {"expert_2": (True, False)}]


def test_each_agent_has_its_own_action_and_reward():
    env = to_parallel_env(Flock(dtype=torch.float64))
    before, _ = env.reset(seed=0)
    seen, rewards, *_ = env.step({"expert_0": 1, "expert_2": 0})
    assert seen["expert_0"][0] == before["expert_0"][0] + 0.25 == rewards["expert_0"]
    assert seen["expert_2"][0] == before["expert_2"][0] == rewards["expert_2"]


class Silent(Flock):
    """Agent 0 is not there any more after the first step, and no end of it is returned."""

    def _make_step(self, state, reward):
        results = super()._make_step(state, reward)
        first = torch.arange(3) == 0
        return results._replace(
            present=results.present & ~(first & (state.t.unsqueeze(-1) > 0)), terminated=results.terminated & ~first
        )


def test_who_is_not_there_any_more_is_terminated():
    env = to_parallel_env(Silent())
    env.reset(seed=0)
    _, _, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, 0))
    assert terminated["expert_0"] and not truncated["expert_0"] and "expert_0" not in env.agents


class Lazarus(Flock):
    """All are there again after their ends."""

    def _make_step(self, state, reward):
        results = super()._make_step(state, reward)
        started = state.t.unsqueeze(-1) >= torch.tensor([0, 1, 0])
        short = state.t.unsqueeze(-1) == torch.tensor([2, 3, 4])  # their ends are returned only once
        return results._replace(
            present=started, terminated=results.terminated & short, truncated=results.truncated & short
        )


def test_who_has_gone_does_not_come_back():
    env = to_parallel_env(Lazarus())
    env.reset(seed=0)
    there = []
    for _ in range(4):
        env.step(dict.fromkeys(env.agents, 0))
        there.append([name[-1] for name in env.agents])
    assert there == [["0", "1", "2"], ["1", "2"], ["2"], []]


# --- observations, rewards and ends


def test_what_is_legal_is_in_the_infos():
    env = to_parallel_env(Steps())
    _, infos = env.reset(seed=0)
    assert infos["expert_0"]["action_mask"].tolist() == [1, 1, 1]
    place = env.episode.state.place
    env.episode.state = env.episode.state._replace(place=place - 5, length=torch.tensor([4]))
    _, _, _, _, infos = env.step({"expert_0": 1})
    mask = infos["expert_0"]["action_mask"]
    assert mask.tolist() == [0, 1, 1] and mask.dtype == np.int8
    assert {env.action_space("expert_0").sample(mask) for _ in range(30)} == {1, 2}


def test_what_is_legal_is_each_agents_own():
    env = to_parallel_env(Flock())
    env.reset(seed=0)
    env.episode.state = env.episode.state._replace(place=torch.tensor([[0.0, 5.0, 0.5]]))
    _, _, _, _, infos = env.step({"expert_0": 0, "expert_2": 0})
    assert {name: info["action_mask"].tolist() for name, info in infos.items()} == {
        "expert_0": [1, 1],
        "expert_1": [0, 1],
        "expert_2": [1, 1],
    }


def test_what_is_legal_is_each_parts_own():
    _, infos = to_parallel_env(Choosy(bits=2)).reset(seed=0)
    assert [info["action_mask"].tolist() for info in infos.values()] == [[0, 1], [1, 1]]


def test_an_agent_of_a_number_has_no_mask_beside_those_of_choices():
    _, infos = to_parallel_env(InputTape(1, symbols=1, timed=True)).reset(seed=0)
    masks = [info["action_mask"].tolist() if info else None for info in infos.values()]
    assert masks == [[1, 1, 1], [1, 0], None]


def test_scores_are_in_the_infos_of_all_agents():
    env = to_parallel_env(GuessingGame(2, 2))
    _, infos = env.reset(seed=0)
    results = [infos]
    for _ in range(2):
        results.append(env.step({name: np.zeros(1) for name in env.agents})[-1])
    assert [[set(info) for info in infos.values()] for infos in results] == [
        [set()] * 2,
        [{"error"}] * 2,
        [{"error", "final_error"}] * 2,
    ]
    assert results[2]["expert_0"]["final_error"] == pytest.approx(env.episode.last_step.obs.item())


def test_discrete_actions_have_the_reward_of_integers():
    task = RepeatPrevious(3, 1, 2)
    env = to_parallel_env(task)
    env.reset(seed=0)
    right = [0, *env.episode.state.symbols[0].tolist()]
    assert [env.step({"expert_0": right[t]})[1]["expert_0"] for t in range(3)] == [0, 0.5, 0.5]


# --- chance


def played(env, **reset):
    """All that is returned in an episode without action."""
    seen, _ = env.reset(**reset)
    results = [seen]
    while env.agents:
        results.append(env.step({name: np.zeros_like(env.action_space(name).sample()) for name in env.agents})[0])
    return [obs.tolist() for seen in results for obs in seen.values()]


def test_a_seed_determines_this_episode_and_the_next():
    one, other = to_parallel_env(DictionaryInference()), to_parallel_env(DictionaryInference())
    first = [played(one, seed=3), played(one), played(one)]
    torch.manual_seed(0)
    again = [played(other, seed=3), played(other), played(other)]
    assert first == again and len({str(episode) for episode in first}) == 3
    assert played(one, seed=3) == first[0] != played(one, seed=4)


def test_episodes_without_a_seed_differ():
    assert played(to_parallel_env(DictionaryInference())) != played(to_parallel_env(DictionaryInference()))


def test_the_global_generators_are_left_alone():
    torch_before, numpy_before = torch.get_rng_state(), np.random.get_state()[1].copy()
    played(to_parallel_env(DictionaryInference()), seed=0)
    assert torch.equal(torch.get_rng_state(), torch_before) and (np.random.get_state()[1] == numpy_before).all()


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_an_episode_may_be_copied_in_the_middle(copied):
    env = to_parallel_env(Maze(9, size=5), render_mode="ansi")
    env.reset(seed=0)
    env.step({"expert_0": 1})
    other = copied(env)
    assert other.agents == env.agents and other.render_mode == "ansi" and other.render() == env.render()
    for action in (0, 1, 2, 3):
        one, same = env.step({"expert_0": action}), other.step({"expert_0": action})
        assert one[0]["expert_0"].tolist() == same[0]["expert_0"].tolist() and one[1:4] == same[1:4]
    assert played(env) == played(other)  # and so are the episodes to come


# --- what is seen


def test_a_maze_is_shown_as_a_grid():
    env = to_parallel_env(Maze(9, size=5), render_mode="ansi")
    env.reset(seed=0)
    lines = env.render().splitlines()
    assert lines[0] == "Maze, step 0 of 9" and lines[1] == "#####" and lines[3][2] == "@"
    env.step({"expert_0": 0})
    drawn = "".join(env.render().splitlines()[1:6])
    assert (
        list(divmod(drawn.index("@"), 5))
        == build_maze_tables(5, torch.device("cpu")).positions[env.episode.state.cell[0]].tolist()
    )
    assert drawn.count("@") == 1 and drawn.count("*") <= 1 and set(drawn) <= set(SIGNS)
    env.render_mode = env.episode.render_mode = "rgb_array"
    picture = env.render()
    at = np.argwhere((picture == COLORS[4]).all(-1)) // 12  # pixels of the agent
    assert np.unique(at, axis=0).tolist() == [list(divmod(drawn.index("@"), 5))]


def test_words_are_shown_with_the_present_one_marked():
    env = to_parallel_env(DictionaryInference(), render_mode="ansi")
    env.reset(seed=0)
    env.step({"expert_0": 0})
    words = env.task.step_labels(env.episode.initial)
    assert env.render().splitlines()[1].split()[:3] == [words[0], f"[{words[1]}]", words[2]]


def test_text_shows_observation_action_reward_and_scores():
    env = to_parallel_env(GuessingGame(1, 2), render_mode="ansi")
    env.reset(seed=0)
    env.step({"expert_0": np.array([0.5]), "expert_1": np.array([-2.0])})
    error = f"{env.episode.last_step.obs.item():.3g}"
    shown = dict(line.split(maxsplit=1) for line in env.render().splitlines()[1:])
    assert shown == {"obs": error, "action": "0.5 -2", "reward": f"-{error}", "error": error, "final_error": error}


def test_a_picture_shows_the_guess_beside_the_target():
    env = to_parallel_env(GuessingGame(1, 2), render_mode="rgb_array")
    env.reset(seed=0)
    env.episode.state = env.episode.initial = env.episode.state._replace(target=torch.tensor([[1.0, -1.0]]))
    before = env.render()
    env.step({"expert_0": np.array([1.0]), "expert_1": np.array([-0.5])})
    after = env.render()
    assert before.shape == after.shape == (96, 12, 3)
    guess = after[48:]
    blue, orange = ((guess == colour).all(-1).sum(0) for colour in ((70, 120, 180), (200, 110, 60)))
    assert blue[:5].min() >= 21 and not blue[6:].any()  # up to the target in the first dimension
    assert 9 <= orange[6:11].min() <= orange.max() <= 13 and not orange[:6].any()  # half way down in the second
    assert (guess[[1, 47], [2, 8]] == (40, 40, 40)).all()  # where they should end


# --- bad input


def test_an_unknown_render_mode_is_refused():
    with pytest.raises(ValueError, match="render_mode='film', want one of: human, rgb_array, ansi; or None"):
        to_parallel_env(Maze(), render_mode="film")


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (4, "expert_0 gave the action 4, want an integer from 0 to 3"),
        (-1, "gave the action -1, want an integer"),
        (1.0, "gave the action 1.0, want an integer"),
        (None, "gave the action None, want an integer"),
        (np.array([1]), r"gave the action array\(\[1\]\), want an integer"),
    ],
)
def test_an_action_that_is_no_choice_is_refused(action, message):
    env = to_parallel_env(Maze())
    env.reset(seed=0)
    with pytest.raises(ValueError, match=message):
        env.step({"expert_0": action})


@pytest.mark.parametrize("action", [np.array([np.nan]), np.array([2.0]), np.zeros(2), 0.0, np.array(["a"])])
def test_an_action_that_is_no_number_between_the_bounds_is_refused(action):
    env = to_parallel_env(Ballot(kind=Continuous(1, -1, 1)))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"expert_1 gave .*, want 1 finite numbers from -1 to 1"):
        env.step({"expert_0": np.zeros(1), "expert_1": action, "expert_2": np.zeros(1)})


@pytest.mark.parametrize("action", [[0, 3], [0], [0.5, 0.5]])
def test_an_action_of_other_choices_is_refused(action):
    env = to_parallel_env(Ballot(kind=MultiDiscrete((2, 3))))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"want 2 integers from 0 to below \[2, 3\]"):
        env.step(dict.fromkeys(env.agents, np.array(action)))


@pytest.mark.parametrize("names", [["expert_0"], ["expert_0", "expert_1", "expert_2"], ["expert_0", "player_1"]])
def test_actions_of_absent_agents_are_refused(names):
    env = to_parallel_env(GuessingGame(dims=2))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"want one of each present agent: \['expert_0', 'expert_1'\]"):
        env.step(dict.fromkeys(names, np.zeros(1)))


def test_actions_before_the_start_and_after_the_end_are_refused():
    env = to_parallel_env(Walk(1))
    with pytest.raises(RuntimeError, match=r"no agent is present in Walk\(.*\): call reset"):
        env.step({})
    env.reset(seed=0)
    env.step({"expert_0": np.zeros(1)})
    with pytest.raises(RuntimeError, match="call reset"):
        env.step({})


def test_rendering_before_the_start_is_refused():
    with pytest.raises(RuntimeError, match="was not started: call reset"):
        to_parallel_env(Maze(), render_mode="ansi").render()


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    from tasks.adapters.outbound import parallel_env

    parallel_env._env_class.cache_clear()
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'pettingzoo"):
        to_parallel_env(Maze())
