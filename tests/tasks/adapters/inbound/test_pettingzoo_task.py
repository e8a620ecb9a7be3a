"""Environments of PettingZoo as tasks: observations, masks, ends, and errors."""

import itertools
import sys

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Text, Tuple, flatten
from numpy.testing import assert_array_equal
from pettingzoo.test import parallel_api_test
from torch.testing import assert_close

import toy_zoo
from badger import PettingZoo
from badger.testing.task import TASK_PROPERTIES, VALUE_STATE_PROPERTIES, cases
from tasks import Continuous, EnvError, Mixed
from tasks import Discrete as Choice
from tasks import MultiDiscrete as Several
from tasks.adapters.inbound.multi_agent_env import MultiAgentEnv
from tasks.adapters.inbound.multi_agent_spaces import JointActions, JointObservations
from toys import seeded

B = 4


def zoo(env=toy_zoo.Meadow, **options):
    return PettingZoo(**{"env": env, "steps": 6, "dtype": torch.float64, **options})


def play(task, steps=8, seed=0):
    """The steps of a rollout with random legal actions: rows that have ended restart in the step after."""
    rng = seeded(seed)
    world, step = task.reset(B, rng)
    results = [step]
    for t in range(steps):
        over = (step.terminated | step.truncated).all(-1)
        world, after = task.step(world, cases.action(task, t), rng)
        world, reset_step = task.restart(world, over, rng)
        step = reset_step if over.any() else after
        results.append(step)
    return results


# --- observations, rewards and ends


def by_hand(env, seed, actions):
    """One episode, in the plainest way: for each step, for each agent, what it received, in dictionaries."""
    obs, _ = env.reset(seed=seed)
    results = [({name: (obs[name], 0.0) for name in env.agents}, {})]
    ended = {}
    for action in actions:
        given = {name: action[env.possible_agents.index(name)] for name in env.agents}
        obs, reward, died, cut, _ = env.step(given)
        fresh = {name: "died" if died[name] else "cut" for name in died if died[name] or cut[name]}
        ended = ended | fresh
        seen = {name: obs[name] for name in obs if fresh.get(name) != "died"}
        results.append(({name: (seen.get(name), reward[name] if name in given else 0.0) for name in obs}, dict(ended)))
        if not env.agents:
            return results
    return results


def test_the_toy_is_a_world_of_pettingzoo():
    parallel_api_test(toy_zoo.Meadow(), num_cycles=30)


@pytest.mark.parametrize("seed", range(12))
def test_a_copy_returns_the_results_of_its_environment(seed):
    actions = np.random.default_rng(seed).integers(3, size=(6, 3))
    copy = MultiAgentEnv(toy_zoo.Meadow, 99)
    results = [copy.reset(seed=seed)[0]] + [copy.step(action)[0] for action in actions]
    for (expected, ended), got in zip(by_hand(toy_zoo.Meadow(), seed, actions), results, strict=False):
        for p, name in enumerate(copy.agent_names):
            obs, reward = expected.get(name, (None, 0.0))
            assert got["present"][p] == (obs is not None)
            assert_array_equal(got["obs"][p], np.zeros(3) if obs is None else obs)
            assert got["reward"][p] == reward
            over = len(ended) == 3
            assert got["terminated"][p] == (ended.get(name) == "died") or over
            assert got["truncated"][p] == (ended.get(name) == "cut")


UNKNOWN = {"references_belong_to_scores_and_are_finite"}  # of a world that nobody knows there are none


@pytest.mark.parametrize("check", [name for name in TASK_PROPERTIES if name not in VALUE_STATE_PROPERTIES | UNKNOWN])
@pytest.mark.parametrize("env", [toy_zoo.Meadow, toy_zoo.Farm, toy_zoo.Pond, toy_zoo.Turns])
def test_an_environment_passes_the_contract_of_tasks(env, check):
    TASK_PROPERTIES[check](zoo(env))


def test_workers_return_the_same_steps_as_one_process():
    one, two = (play(zoo(num_workers=n), steps=4) for n in (1, 2))
    for a, b in zip(one, two, strict=True):
        cases.same(a, b)


def test_a_restart_changes_only_masked_rows():
    task, mask = zoo(), torch.tensor([True, False, True, False])
    rng = seeded()
    world, _ = task.reset(B, rng)
    world, before = task.step(world, cases.action(task), rng)
    _, after = task.restart(world, mask, rng)
    cases.same(before._replace(reward=after.reward), after, ~mask)
    assert not torch.equal(before.obs[mask], after.obs[mask]) and not after.obs[mask][..., 1].any()


def test_who_is_left_after_the_last_step_is_cut_short_and_sees_it():
    copy = MultiAgentEnv(toy_zoo.Bad, 2)
    copy.env.wrong = lambda *results: results
    copy.reset(seed=0)
    copy.step(np.zeros(3, int))
    results, _, over, _, _ = copy.step(np.zeros(3, int))
    assert over and results["truncated"].all() and not results["terminated"].any() and results["present"].all()
    assert_array_equal(results["obs"][:, 1], [2, 2, 2])


def test_who_is_no_longer_named_has_died():
    copy = MultiAgentEnv(toy_zoo.Silently, 9)
    copy.reset(seed=0)
    for _ in range(toy_zoo.BAD):
        results = copy.step(np.zeros(3, int))[0]
    assert results["terminated"].tolist() == [False, True, False] == (~results["present"]).tolist()


def test_whoever_never_came_has_ended_with_the_episode():
    class Lonely(toy_zoo.Meadow):
        def step(self, actions):
            self.t = 5
            return super().step(actions)

    copy = MultiAgentEnv(Lonely, 9)
    copy.reset(seed=0)
    results, _, over, _, _ = copy.step(np.ones(3, int))
    assert over and (results["terminated"] | results["truncated"]).all() and not results["present"][2]
    assert results["mean_return"] == 1  # of the two who have acted


def test_scores_are_means_over_acting_agents_at_the_end():
    task = zoo()
    results = play(task, steps=12)
    total, acted, length = torch.zeros(B, 3), torch.zeros(B, 3, dtype=torch.bool), torch.zeros(B)
    ends = 0
    for before, now in itertools.pairwise(results):
        was, over = ((step.terminated | step.truncated).all(-1) for step in (before, now))
        acts = before.present & ~(before.terminated | before.truncated)
        total, acted, length = total + now.reward, acted | acts, length + 1
        for row in range(B):
            if was[row]:
                total[row], acted[row], length[row] = 0, False, 0
            if over[row]:
                ends += 1
                assert_close(now.scores["episodic_return"][row], (total[row].sum() / acted[row].sum()).double())
                assert now.scores["episodic_length"][row] == length[row]
            else:
                assert now.scores["episodic_return"][row].isnan()
    assert ends > B


def test_an_ended_episode_has_no_reward_and_no_score_until_its_restart():
    task, rng = zoo(toy_zoo.Turns), seeded()
    world, _ = task.reset(B, rng)
    results = []
    for _ in range(5):
        world, step = task.step(world, torch.ones(B, 2, dtype=torch.long), rng)
        results.append(step)
    assert [step.reward.mean().item() for step in results] == [1, 1, 1, 0, 0]
    assert [bool(step.scores["episodic_return"].isfinite().all()) for step in results] == [
        False,
        False,
        True,
        False,
        False,
    ]


def test_the_agent_indicator_is_one_hot():
    plain, numbered = (play(zoo(agent_indicator=n), steps=3) for n in (False, True))
    assert zoo(agent_indicator=True).obs_size == zoo().obs_size + 3
    for a, b in zip(plain, numbered, strict=True):
        assert torch.equal(a.obs, b.obs[..., :3])
        assert torch.equal(b.obs[..., 3:], torch.eye(3).double() * a.present.unsqueeze(-1))


# --- spaces


def test_what_is_seen_is_flattened_by_gymnasium_and_filled_up():
    spaces = {
        "a": Dict(day=Discrete(3), field=Box(-1, 1, (2, 2))),
        "b": Tuple((MultiBinary(2), Discrete(2))),
        "c": MultiDiscrete([2, 3]),
        "d": Discrete(4, start=1),
    }
    views = JointObservations(spaces)
    assert views.size == 7
    for i, (name, space) in enumerate(spaces.items()):
        space.seed(i)
        sample = space.sample()
        flat = views.encode({name: sample})[0]
        expected = flatten(space, sample)
        assert_array_equal(flat[: len(expected)], expected)
        assert not flat[len(expected) :].any() and flat.shape == (7,)


def test_the_action_mask_is_not_part_of_the_observation():
    views = JointObservations({"a": Dict(observation=Box(0, 1, (2,)), action_mask=MultiBinary(3))})
    obs = {"observation": np.array([0.5, 1]), "action_mask": np.array([1, 0, 1])}
    assert_array_equal(views.encode({"a": obs})[0], [0.5, 1])
    assert_array_equal(views.mask(obs, {}), [1, 0, 1])
    assert views.mask(np.zeros(2), {"action_mask": 5}) == 5 and views.mask(np.zeros(2), {}) is None


@pytest.mark.parametrize("space", [Graph(Box(0, 1, (1,)), None), Sequence(Discrete(2))], ids=["graph", "sequence"])
def test_an_observation_of_no_fixed_size_is_refused(space):
    with pytest.raises(ValueError, match=r"agent 'a': observation has the space (Graph|Sequence).*no fixed size"):
        JointObservations({"a": space})


def to_env(made, name, action):
    """The action of one agent."""
    return made.to_env([name], action[None])[name]


def test_agents_of_equal_spaces_are_converted_together_as_they_are_alone():
    rng, names = np.random.default_rng(0), ["a", "b", "c", "d"]
    boxes = {"a": Box(-1, 1, (2,)), "b": Box(-5, 5, (3,)), "c": Box(-1, 1, (2,)), "d": Box(-1, 1 + 1e-7, (2,))}
    views, made = JointObservations(boxes), JointActions(boxes)
    obs = {name: rng.normal(size=box.shape).astype(np.float32) for name, box in boxes.items()}
    assert_array_equal(views.encode(obs), np.concatenate([views.encode({name: obs[name]}) for name in names]))
    action = rng.normal(size=(4, 3))
    together = made.to_env(names, action)
    assert list(together) == names
    for name, row in zip(names, action, strict=True):
        assert_array_equal(together[name], to_env(made, name, row))


def test_choices_of_different_sizes_are_padded_and_masked():
    made = JointActions({"a": Discrete(2), "b": Discrete(4, start=1)})
    assert made.action_space == Choice(4)
    assert_array_equal(made.action_mask("a"), [1, 1, 0, 0])
    assert_array_equal(made.action_mask("b", np.array([0, 1, 1, 0])), [0, 1, 1, 0])
    assert_array_equal(made.action_mask("a", np.array([0, 0])), [1, 1, 0, 0])  # nothing is legal: all of its own is
    assert to_env(made, "a", np.array(1)) == 1 and to_env(made, "b", np.array(3)) == 4
    assert all(space.contains(to_env(made, name, np.array(1))) for name, space in made.spaces.items())


def test_multiple_choices_are_padded_and_masked():
    made = JointActions({"a": MultiDiscrete([2, 3], start=[0, 5]), "b": Discrete(4), "c": MultiBinary(1)})
    assert made.action_space == Several((4, 3))
    assert_array_equal(made.action_mask("a"), [1, 1, 0, 0, 1, 1, 1])
    assert_array_equal(made.action_mask("a", (np.array([0, 1]), np.array([1, 0, 1]))), [0, 1, 0, 0, 1, 0, 1])
    assert_array_equal(made.action_mask("b"), [1, 1, 1, 1, 1, 0, 0])
    assert_array_equal(to_env(made, "a", np.array([1, 2])), [1, 7])
    assert to_env(made, "b", np.array([3, 0])) == 3 and to_env(made, "c", np.array([1, 0])).tolist() == [1]
    assert all(space.contains(to_env(made, name, np.array([1, 0]))) for name, space in made.spaces.items())


def test_a_mask_of_another_size_is_refused():
    with pytest.raises(ValueError, match="agent 'a' received an action_mask of 3 values, want 2"):
        JointActions({"a": Discrete(2)}).action_mask("a", np.ones(3))


def test_real_numbers_are_cut_to_the_bounds_of_all():
    made = JointActions({"a": Box(0, 3, (2,)), "b": Box(0, 3, (1, 3))})
    assert made.action_space == Continuous(3, 0, 3) and made.action_mask("a") is None
    assert_array_equal(to_env(made, "a", np.array([-2.0, 0.5, 9])), np.array([0, 0.5], np.float32))
    assert_array_equal(to_env(made, "b", np.array([-2.0, 0.5, 9])), np.array([[0, 0.5, 3]], np.float32))


def test_real_numbers_are_scaled_where_bounds_differ():
    made = JointActions({"a": Box(-1, 1, (2,)), "b": Box(np.array([0, 2.0]), np.array([3, 6.0]), dtype=np.float64)})
    assert made.action_space == Continuous(2, -1, 1)
    assert_array_equal(to_env(made, "a", np.array([-2.0, 0.5])), np.array([-1, 0.5], np.float32))
    assert_array_equal(to_env(made, "b", np.array([-2.0, 0.5])), np.array([0, 5.0]))


def test_real_numbers_without_bounds_are_not_scaled():
    made = JointActions({"a": Box(-1, 1, (1,)), "b": Box(0, np.inf, (2,))})
    assert made.action_space == Continuous(2, -1, np.inf)
    assert_array_equal(to_env(made, "b", np.array([-2.0, 50])), np.array([0, 50], np.float32))


def test_agents_with_choices_and_agents_with_numbers_share_one_space():
    made = JointActions({"a": Discrete(2), "b": Box(0, 1, (2,)), "c": Tuple((Box(0, 1, (1,)), Discrete(3)))})
    assert made.action_space == Mixed(Several((3,)), Continuous(2, 0.0, 1.0))
    masks = [made.action_mask(name).tolist() for name in "abc"]
    assert masks == [[1, 1, 0], [1, 0, 0], [1, 1, 1]]
    actions = made.to_env("abc", np.array([[1, 0.5, 0.25]] * 3))
    assert actions["a"] == 1
    assert_array_equal(actions["b"], np.array([0.5, 0.25], np.float32))
    assert made.spaces["c"].contains(actions["c"]) and actions["c"][1] == 1


def test_unsupported_action_spaces_are_named():
    spaces, message = {"a": Dict(x=Text(2))}, r"agent 'a': action\['x'\] has the space Text.*want Discrete, Multi.*Box"
    with pytest.raises(ValueError, match=message):
        JointActions(spaces)


def test_agents_have_their_own_observation_and_action_spaces():
    copy = MultiAgentEnv(toy_zoo.Farm, 9)
    results, _ = copy.reset(seed=0)
    assert copy.action_codec.action_space == Several((3, 4, 2))
    assert_array_equal(results["action_mask"][0], [1, 0, 1, 1, 0, 0, 0, 1, 0])
    assert_array_equal(results["action_mask"][1], [0, 1, 0, 1, 1, 0, 0, 1, 0])
    assert_array_equal(results["action_mask"][2], [1, 1, 0, 1, 1, 0, 0, 1, 1])
    copy.step(np.array([[2, 0, 0], [1, 3, 0], [0, 0, 0]]))
    assert copy.env.given["cow_0"] == 3 and copy.env.given["cow_1"].tolist() == [1, 3]
    assert "calf_0" not in copy.env.given


# --- what goes wrong


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (toy_zoo.NaN, r"agent 'cow_1' received the observation nan at \(1,\), want finite numbers"),
        (toy_zoo.Infinite, r"returned the reward inf for agent 'cow_1', want a finite number"),
        (toy_zoo.Raising, "KeyError.*the gate is locked"),
        (toy_zoo.Stranger, r"names the agents \['wolf_0'\], want some of: \['cow_0', 'cow_1', 'calf_0'\]"),
        (toy_zoo.StrangerSeen, r"names the agents \['wolf_0'\], want some of"),
        (toy_zoo.Unseen, "agent 'cow_1' is alive but has no observation"),
        (toy_zoo.Short, r"agent 'cow_1' received the observation of shape \(2,\), want \(3,\) of its space"),
    ],
)
def test_errors_name_seed_and_step(env, message):
    with pytest.raises(EnvError, match=rf"(?s){env.__name__}, row 0 \(seed \d+, step {toy_zoo.BAD}\).*{message}"):
        play(zoo(env), steps=toy_zoo.BAD)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_the_error_of_a_reward_carries_the_agent(num_workers):
    with pytest.raises(EnvError) as caught:
        play(zoo(toy_zoo.Infinite, num_workers=num_workers), steps=toy_zoo.BAD)
    assert (caught.value.agent, caught.value.step) == ("cow_1", toy_zoo.BAD)


def test_errors_in_workers_name_row_seed_and_step():
    with pytest.raises(EnvError, match=rf"(?s)Raising, row \d \(seed \d+, step {toy_zoo.BAD}\).*the gate is locked"):
        play(zoo(toy_zoo.Raising, num_workers=2), steps=toy_zoo.BAD)


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (toy_zoo.Changing, r"the space of agent 'cow_1' changed from Discrete\(3\) to Discrete\(5\)"),
        (toy_zoo.Renaming, "possible_agents changed from .*'calf_0'.* to .*'calf_1'"),
    ],
)
def test_an_environment_that_changes_between_resets_is_refused(env, message):
    task = zoo(env)
    world, _ = task.reset(1, seeded())
    with pytest.raises(EnvError, match=rf"(?s){message}"):
        task.restart(world, torch.tensor([True]), seeded())


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (toy_zoo.Nameless, "has no possible_agents"),
        (dict, "env returned a dict, want a pettingzoo.ParallelEnv, or an AECEnv"),
        ("no_such_world.grass_v1", "pip install no_such_world"),
        ("toy_zoo", "module toy_zoo has no parallel_env or env; name a function as module:function"),
        ("toy_zoo:Medow", "module toy_zoo has no function Medow"),
    ],
)
def test_an_unsupported_environment_is_refused(env, message):
    with pytest.raises(ValueError, match=message):
        zoo(env)


@pytest.mark.parametrize("library", ["gymnasium", "pettingzoo"])
def test_a_library_that_is_not_installed_is_named(monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ModuleNotFoundError, match=rf"pip install '{library}>="):
        zoo(toy_zoo.Turns)


@pytest.mark.parametrize("options", [{"steps": -1}, {"num_workers": 0}])
def test_sizes_are_positive(options):
    with pytest.raises(ValueError, match=r"=(-1|0), want at least 1"):
        zoo(**options)
