"""Tasks as environments of Gymnasium."""

import copy
import pickle
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, MultiDiscrete, Tuple
from gymnasium.utils.env_checker import check_env

from badger import TASKS, AssociativeRecall, GuessingGame, Maze, PooledRecall, RepeatPrevious
from tasks import Continuous, InputTape, Notes, TMaze, to_gymnasium, to_parallel_env
from tasks.adapters.outbound import gymnasium_env
from toy_teams import Choosy, Flock
from toys import Steps, Walk, seeded


class Long(Steps):
    """What is truncated by its first step is no world for gymnasium's check."""

    def reset(self, batch, rng):
        state, step = super().reset(batch, rng)
        return state._replace(length=torch.full_like(state.length, self.steps)), step


SINGLE = {name: make for name, make in TASKS.items() if make().agents is None}
MAKE = SINGLE | {"long": Long, "choosy": Choosy}
HARMLESS = ("infinity", "symmetric and normalized", "A Box observation space maximum", "A Box action space")


@pytest.fixture
def registered():
    """Makes a task's environment by an id, as gymnasium's check wants it to see all render modes."""
    made = []

    def register(make):
        made.append(f"BadgerTest{len(made)}-v0")
        gymnasium.register(made[-1], entry_point=lambda render_mode=None: to_gymnasium(make(), render_mode=render_mode))
        return gymnasium.make(made[-1]).unwrapped

    yield register
    for name in made:
        del gymnasium.registry[name]


@pytest.mark.parametrize("make", MAKE.values(), ids=MAKE)
def test_every_task_passes_gymnasiums_check(make, registered):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        check_env(registered(make))
    assert [str(w.message) for w in caught if not any(word in str(w.message) for word in HARMLESS)] == []


def test_a_multi_agent_task_is_refused():
    with pytest.raises(ValueError, match=r"Flock\(.*\) has 3 agents, want a single one: use tasks.to_parallel"):
        to_gymnasium(Flock())


def test_choices_beside_real_numbers_are_a_tuple_of_both():
    env = to_gymnasium(InputTape(length=2, symbols=3))
    assert env.action_space == Tuple((MultiDiscrete([3, 2]), Box(-np.inf, np.inf, (3,), np.float32)))
    _, info = env.reset(seed=0)
    choices, numbers = info["action_mask"]
    assert [mask.tolist() for mask in choices] == [[1, 1, 1], [1, 1]] and numbers is None
    env.step(env.action_space.sample(info["action_mask"]))
    env.step((np.array([2, 1]), np.array([0.5, -1, 2])))
    assert env.episode.actions[-1].tolist() == [[2, 1, 0.5, -1, 2]]


@pytest.mark.parametrize(
    "action",
    [3, np.array([0, 0, 0.5]), ([0, 0],), ([0, 3], [0.5]), ([0.0, 0.0], [0.5]), ([0, 0], [2.0]), ([0, 0], [np.nan]),
     ([0, 0], [[0.5], [1, 2]]), {"choices": [0, 0], "numbers": [0.5]}, None],
)  # fmt: skip
def test_an_action_that_is_no_pair_of_choices_and_numbers_is_refused(action):
    env = to_gymnasium(Notes(TMaze(3), 1, 1))
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"want a tuple of two: 2 integers from 0 to below \[4, 3\]; and 1 finite num"):
        env.step(action)


class Narrow(GuessingGame):
    action_space = Continuous(1, -0.1, 0.3)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_are_those_of_the_precision_of_the_action(dtype):
    env = to_gymnasium(Narrow(2, 1))
    env.reset(seed=0)
    env.step(np.array([-0.1], dtype))  # as float32 a little less than -0.1
    with pytest.raises(ValueError, match=r"want 1 finite numbers from -0.1 to 0.3"):
        env.step(np.array([-0.11], dtype))


def test_spaces_are_those_of_the_whole_action_and_of_all_rows():
    several = to_gymnasium(AssociativeRecall(bits=3)).action_space
    assert several == gymnasium.spaces.MultiDiscrete([2, 2, 2])
    assert to_gymnasium(Maze()).action_space == gymnasium.spaces.Discrete(4)
    guess = to_gymnasium(GuessingGame(dims=3, dtype=torch.float64)).action_space
    assert guess == gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    task = PooledRecall(experts=5)
    assert to_gymnasium(task).observation_space.shape == (5, task.obs_size)


def test_the_environment_returns_the_steps_of_the_task():
    task = GuessingGame(3, 2, dtype=torch.float64)
    env = to_gymnasium(task)
    state, reset_step = task.reset(1, seeded())
    seen, info = env.reset(seed=1, options={"initial": (state, reset_step)})
    assert info == {}
    for t in range(task.steps):
        assert np.array_equal(seen, reset_step.obs[0].numpy())
        guess = torch.tensor([[0.1 * t, -0.5]], dtype=torch.float64)
        state, reset_step = task.step(state, guess, seeded())
        seen, reward, ended, cut, info = env.step(guess[0].numpy())
        assert (reward, ended, cut) == (reset_step.reward.item(), t == task.steps - 1, False)
        assert info["error"] == reset_step.scores["error"].item() and ("final_error" in info) == ended


def test_discrete_actions_have_the_reward_of_integers():
    env = to_gymnasium(RepeatPrevious(3, 1, 2))
    env.reset(seed=0)
    right = [0, *env.episode.state.symbols[0].tolist()]
    assert [env.step(right[t])[1] for t in range(3)] == [0, 0.5, 0.5]


def test_truncation_is_distinguished_from_termination():
    env, ends = to_gymnasium(Walk(1)), set()
    for seed in range(8):
        env.reset(seed=seed)
        ends.add(env.step(np.zeros(1))[2:4])
    assert ends == {(True, False), (False, True)}


def test_what_is_legal_is_what_a_space_samples():
    env = to_gymnasium(Choosy(bits=2))
    _, info = env.reset(seed=0)
    assert [mask.tolist() for mask in info["action_mask"]] == [[0, 1], [1, 1]]
    drawn = {tuple(env.action_space.sample(info["action_mask"]).tolist()) for _ in range(40)}
    assert drawn == {(1, 0), (1, 1)}


def test_a_seed_opens_the_same_episodes_for_one_actor_as_for_several():
    alone, together = to_gymnasium(Maze()), to_parallel_env(Maze())
    for seed in (4, None, None):
        seen = alone.reset(seed=seed)[0], together.reset(seed=seed)[0]["expert_0"]
        assert np.array_equal(*seen) and torch.equal(alone.episode.state.goal, together.episode.state.goal)
        assert torch.equal(alone.episode.state.respawn_cells, together.episode.state.respawn_cells)


def test_chance_matches_a_numpy_simulation():
    one, other = to_gymnasium(Maze()), to_gymnasium(Maze())
    one.reset(seed=4)
    other.np_random = np.random.default_rng(4)
    other.reset()
    assert torch.equal(one.episode.state.respawn_cells, other.episode.state.respawn_cells)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda env: pickle.loads(pickle.dumps(env))], ids=["copy", "pickle"])
def test_an_episode_may_be_copied_in_the_middle(copied):
    env = to_gymnasium(Maze(9, size=5))
    env.reset(seed=0)
    env.step(1)
    other = copied(env)
    for action in (0, 1, 2, 3):
        assert env.step(action)[0].tolist() == other.step(action)[0].tolist()
    env.reset(), other.reset()
    assert torch.equal(env.episode.state.respawn_cells, other.episode.state.respawn_cells)


def test_it_runs_in_a_vector_environment():
    env = gymnasium.vector.SyncVectorEnv([lambda: to_gymnasium(GuessingGame(2, 2))] * 3)
    env.reset(seed=0)
    env.step(np.zeros((3, 2)))
    _, _, ended, _, info = env.step(np.zeros((3, 2)))
    assert ended.all() and (info["final_error"] > 0).all()


def test_an_action_that_is_not_in_the_space_is_refused():
    env = to_gymnasium(Maze())
    env.reset(seed=0)
    with pytest.raises(ValueError, match="the agent gave the action 4, want an integer from 0 to 3"):
        env.step(4)


def test_actions_before_the_start_and_after_the_end_are_refused():
    env = to_gymnasium(Steps(1))
    with pytest.raises(RuntimeError, match=r"an episode of Steps\(.*\) was not started: call reset"):
        env.step(0)
    env.reset(seed=0)
    env.step(1)
    with pytest.raises(RuntimeError, match="is over: call reset"):
        env.step(1)


def test_the_grid_of_a_task_with_notes_is_drawn_from_its_start():
    env = to_gymnasium(Notes(Maze(9, size=5), 1, 1), render_mode="ansi")
    env.reset(seed=0)
    assert env.render().splitlines()[3][2] == "@"


def test_an_unknown_render_mode_is_refused():
    with pytest.raises(ValueError, match="render_mode='film', want one of: human, rgb_array, ansi; or None"):
        to_gymnasium(Maze(), render_mode="film")


def test_a_missing_library_is_named_with_the_command_that_installs_it(monkeypatch):
    gymnasium_env._env_class.cache_clear()
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ModuleNotFoundError, match="pip install 'gymnasium"):
        to_gymnasium(Maze())
