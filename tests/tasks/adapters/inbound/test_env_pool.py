"""Pools of external environments, in this process and in workers, and their errors."""

import gc
import math
import os
import pickle
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from numpy.testing import assert_array_equal

import toy_worlds
from badger.rollouts.trajectory import Carry, detach_carry
from experts import state as states
from tasks import EnvError, EnvLimits, EnvPool, Step

B = 4


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def worlds(factory=toy_worlds.Counter, num_workers=1, **limits):
    return EnvPool(factory, EnvLimits("Toy-v0", **limits), num_workers=num_workers)


def mask(*rows):
    return torch.isin(torch.arange(B), torch.tensor(rows))


def play(made, choose, steps, seed=0):
    """All that was returned; rows that have ended restart after their next step, as they do in a rollout."""
    rng = seeded(seed)
    world, results = made.reset(B, rng)
    everything = [results]
    for t in range(steps):
        over = torch.from_numpy(results.terminated | results.truncated)
        world, results = world.step(choose(t))
        world, results = world.restart(over, rng)
        everything.append(results)
    return everything


def choices(n=4):
    return lambda t: np.random.default_rng(t).integers(n, size=B)


def same(one, other):
    for a, b in zip(one, other, strict=True):
        for x, y in zip(a[:4], b[:4], strict=True):  # the last are masks
            assert_array_equal(x, y)


def by_hand(factory, seeds, choose, steps):
    """The same, in the plainest way: one environment a row, reset in the step after an end, the action ignored.

    seeds: a list of B for each reset that anyone makes, the first one's first.
    """
    seeds = iter(seeds)
    envs, first = [factory() for _ in range(B)], next(seeds)
    rows = [[(env.reset(seed=seed)[0], 0.0, False, False)] for env, seed in zip(envs, first, strict=True)]
    for t in range(steps):
        drawn, action = next(seeds), choose(t)
        for row, env in enumerate(envs):
            *_, terminated, truncated = rows[row][-1]
            over = terminated or truncated
            results = (env.reset(seed=drawn[row])[0], 0.0, False, False) if over else env.step(action[row])[:4]
            rows[row].append(results)
    return [tuple(np.stack(part) for part in zip(*(row[t] for row in rows), strict=True)) for t in range(steps + 1)]


def drawn(rng):
    while True:
        yield torch.randint(2**31 - 1, (B,), generator=rng).tolist()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_cartpole_is_as_gymnasium_has_it_over_the_ends_of_episodes(num_workers):
    factory = partial(gymnasium.make, "CartPole-v1", max_episode_steps=15)
    results = play(worlds(factory, num_workers), choices(2), 50)
    expected = by_hand(factory, drawn(seeded()), choices(2), 50)
    same(results, expected)
    assert sum(part.terminated.sum() for part in results) > B
    assert sum(part.truncated.sum() for part in results) > 1


def test_workers_tell_what_one_process_tells():
    factory = toy_worlds.Counter
    same(play(worlds(factory), choices(), 20), play(worlds(factory, num_workers=4), choices(), 20))


def test_the_same_generator_gives_the_same_episodes_and_another_one_others():
    made = worlds()
    results, again, other = (play(made, choices(), 12, seed) for seed in (0, 0, 1))
    same(results, again)
    assert not set(np.concatenate([t.obs[:, 0] for t in results])) & set(np.concatenate([t.obs[:, 0] for t in other]))


@pytest.mark.parametrize("num_workers", [1, 2])
def test_a_restart_changes_only_masked_rows_and_samples_a_seed_for_each(num_workers):
    made = worlds(partial(toy_worlds.Counter, 9), num_workers)
    world, reset_step = made.reset(B, seeded())
    world, results = world.step(np.arange(B))
    world, new = world.restart(mask(0, 3), seeded(1))
    _, fresh = made.reset(B, seeded(1))
    assert_array_equal(new.obs[[0, 3]], fresh.obs[[0, 3]])
    assert_array_equal(new.obs[1:3], results.obs[1:3])
    assert_array_equal(new.reward, [0, 1, 2, 0])
    assert len({*reset_step.obs[:, 0], *fresh.obs[:, 0]}) == 2 * B
    _, later = world.step(np.zeros(B, int))
    assert_array_equal(later.obs[:, 1], [1, 2, 2, 1])


def test_a_row_that_has_ended_waits_and_pays_nothing():
    world, _ = worlds(partial(toy_worlds.Counter, 2)).reset(B, seeded())
    for _ in range(2):
        world, ended = world.step(np.full(B, 3))
    world, results = world.step(np.full(B, 3))
    assert ended.terminated.all() and results.terminated.all()
    assert_array_equal(results.obs, ended.obs)
    assert_array_equal(results.reward, np.zeros(B))


def test_an_episode_without_an_end_is_truncated():
    results = play(worlds(partial(toy_worlds.Counter, 1000), max_episode_steps=5), choices(), 5)
    assert results[5].truncated.all() and not results[5].terminated.any() and not results[4].truncated.any()


def test_an_episode_that_terminates_in_its_last_step_is_not_truncated():
    results = play(worlds(partial(toy_worlds.Counter, 5), max_episode_steps=5), choices(), 5)
    assert results[5].terminated.all() and not results[5].truncated.any()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_observations_may_have_parts(num_workers):
    world, results = worlds(toy_worlds.Rooms, num_workers).reset(B, seeded())
    _, later = world.step(np.zeros(B, int))
    assert results.obs["place"].shape == (B, 2, 2) and later.obs["door"].shape == (B,)
    assert_array_equal(later.obs["door"], np.ones(B))
    assert len(np.unique(results.obs["place"])) == B


def test_an_old_state_is_void():
    world, _ = worlds().reset(B, seeded())
    world.step(np.zeros(B, int))
    with pytest.raises(RuntimeError, match=r"version 1 of Toy-v0, whose copies are at version 2: .*cannot be rolled"):
        world.step(np.zeros(B, int))
    with pytest.raises(RuntimeError, match="or reset"):
        world.restart(mask(0), seeded())


def test_a_handle_is_detached_and_nothing_else_is_done_with_it():
    world, _ = worlds().reset(B, seeded())
    reset_step = Step(torch.ones(B, 2), *torch.zeros(3, B).unbind(), {})
    assert detach_carry(Carry((world,), reset_step, (), 0, torch.ones(B, dtype=torch.bool))).env_state == (world,)
    for verb in (states.pack, lambda state: states.index(state, torch.arange(2))):
        with pytest.raises(TypeError, match=r"Toy-v0 is an external environment: .*cannot be copied, mixed or packed"):
            verb((world,))


WRONG = {
    toy_worlds.Raising: r"raised KeyError in step: 'the door is locked'(.|\n)*toy_worlds.py",
    toy_worlds.NaN: r"observation nan at \(1,\), want finite numbers",
    toy_worlds.Infinite: "reward inf, want a finite number",
    toy_worlds.Quitting: "raised SystemExit in step: 3",
    toy_worlds.Shapeless: r"observation of shape \(1,\), want \(2,\)",
}


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("world", WRONG, ids=lambda world: world.__name__)
def test_errors_name_row_seed_and_step(world, num_workers):
    seeds = next(drawn(seeded()))
    with pytest.raises(
        EnvError, match=rf"Toy-v0, row \d \(seed ({'|'.join(map(str, seeds))}), step 3\) .*{WRONG[world]}"
    ):
        play(worlds(partial(world, 9), num_workers), choices(), 4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_errors_carry_where_they_happened(num_workers):
    seeds = next(drawn(seeded()))
    with pytest.raises(EnvError) as caught:
        play(worlds(partial(toy_worlds.Raising, 9), num_workers), choices(), 4)
    error = caught.value
    assert (error.env, error.step, error.agent) == ("Toy-v0", 3, None)
    assert error.seed == seeds[error.row]


def test_an_error_keeps_where_it_happened_when_it_is_pickled():
    error = pickle.loads(pickle.dumps(EnvError("no", env="Toy-v0", row=1, seed=2, step=3, agent="cow")))
    assert str(error) == "no"
    assert error.context == {"env": "Toy-v0", "row": 1, "seed": 2, "step": 3, "agent": "cow"}


BAD_REWARDS = {
    "None": (None, "reward None, want one number"),
    "text": ("1", "reward '1', want one number"),
    "two numbers": (
        np.ones(2),
        r"reward array\(\[1., 1.\]\), want one number; of several agents, see badger train pettingzoo",
    ),
    "NaN": (np.float32("nan"), "reward .*nan.*, want a finite number"),
    "infinity": (-math.inf, "reward -inf, want a finite number"),
    "beyond float32": (np.float64(1e39), r"reward .*1e\+39.*, want at most 3.4e\+38, the largest number of float32"),
    "complex": (1j, "reward 1j, want one number"),
}


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("name", BAD_REWARDS)
def test_a_reward_that_is_no_number_is_refused_with_environment_row_seed_and_step(name, num_workers):
    reward, message = BAD_REWARDS[name]
    with pytest.raises(EnvError, match=rf"Toy-v0, row \d \(seed \d+, step 3\) returned the {message}$"):
        play(worlds(partial(toy_worlds.Rewarding, reward, 9), num_workers), choices(), 4)


@pytest.mark.parametrize("reward", [2, True, np.float32(2), np.int64(2), np.array(2.0), np.array([2.0])])
def test_a_reward_of_one_element_is_a_number(reward):
    world, _ = worlds(partial(toy_worlds.Rewarding, reward, 9)).reset(B, seeded())
    for _ in range(3):
        world, step = world.step(np.zeros(B, int))
    assert step.reward.tolist() == [float(np.asarray(reward).item())] * B


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ("reset", r"step 0\) returned one ndarray, want 2: obs, info; .*shimmy"),
        ("step", r"step 1\) returned 4 values, want 5: obs, reward, terminated, truncated, info"),
    ],
)
def test_the_interface_of_older_versions_is_named(where, message):
    with pytest.raises(EnvError, match=message):
        play(worlds(partial(toy_worlds.Old, where)), choices(), 2)


def drawing():
    """Observes a number of NumPy's global generator."""

    class Drawing(toy_worlds.Counter):
        def observe(self):
            return np.array([np.random.random(), self.t])

    return Drawing(9)


def test_copies_in_workers_that_draw_from_the_global_generator_differ_and_repeat():
    first, again = (play(worlds(drawing, 4), choices(), 3, seed=5) for _ in range(2))
    same(first, again)
    assert all(len(set(step.obs[:, 0])) == B for step in first)


@pytest.mark.parametrize("num_workers", [1, 2])
@pytest.mark.parametrize("where", ["reset", "step"])
def test_an_environment_that_ends_the_process_raises(where, num_workers):
    with pytest.raises(EnvError, match=rf"Toy-v0, row \d \(seed \d+, step \d\) raised SystemExit in {where}: "):
        play(worlds(partial(toy_worlds.Exiting, where, 9), num_workers), choices(), 4)


def test_a_copy_whose_constructor_ends_the_process_raises():
    with pytest.raises(EnvError, match=r"Toy-v0, row 0 \(seed None, step 0\) raised SystemExit in its constructor: 3"):
        worlds(partial(toy_worlds.Exiting, "constructor")).reset(B, seeded())


def test_a_hanging_environment_is_interrupted_with_its_traceback():
    with pytest.raises(EnvError, match=r"step 3\) took longer than 0.1 s in step(.|\n)*toy_worlds.py(.|\n)*in wrong"):
        play(worlds(partial(toy_worlds.Hanging, 9), 2, timeout=0.1), choices(), 4)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_spaces_that_change_between_resets_are_refused(num_workers):
    with pytest.raises(EnvError, match=r"changed its action_space in reset from Discrete\(4\) to Discrete\(5\)"):
        play(worlds(toy_worlds.Changing, num_workers), choices(), 9)


def test_new_episodes_can_start_after_an_error():
    made = worlds(partial(toy_worlds.Raising, 9), 2)
    for _ in range(2):
        with pytest.raises(EnvError):
            play(made, choices(), 4)
    assert len(play(made, choices(), 2)) == 3


def workers(made, batch=B):
    """Of a batch, while it is in use."""
    world, _ = made.reset(batch, seeded())
    return world, world._copies.rows.processes


def test_workers_serve_again_and_end_with_the_last_who_could_use_them():
    made = worlds(num_workers=2)
    world, first = workers(made)
    del world
    world, second = workers(made)
    assert [p.pid for p in first] == [p.pid for p in second]
    del world, made
    gc.collect()
    assert not any(p.is_alive() for p in second)


def test_workers_end_when_their_world_goes_wrong():
    made = worlds(partial(toy_worlds.Raising, 9), 2)
    world, processes = workers(made)
    with pytest.raises(EnvError):
        for _ in range(4):
            world, _ = world.step(np.zeros(B, int))
    assert not any(p.is_alive() for p in processes)


def test_copies_are_closed_when_no_longer_used():
    closed = []

    class Closing(toy_worlds.Counter):
        def close(self):
            closed.append(os.getpid())

    made = worlds(Closing)
    one, other = made.reset(2, seeded())[0], made.reset(2, seeded())[0]
    assert not closed
    del one, other  # one of each size is kept
    assert len(closed) == 2
    del made
    assert len(closed) == 4


def test_a_batch_that_workers_do_not_divide_gets_fewer():
    world, processes = workers(worlds(num_workers=4), 6)
    assert len(processes) == 3
    assert world.step(np.zeros(6, int))[1].obs.shape == (6, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"num_workers": 0}, "num_workers=0, want at least 1"),
        ({"timeout": 1.0}, "timeout=1.0: a call in this process cannot be interrupted; set num_workers=2"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        worlds(**options)


def test_a_batch_has_rows():
    with pytest.raises(ValueError, match="batch=0, want at least 1"):
        worlds().reset(0, seeded())


def test_a_dict_with_other_names_is_refused():
    class Other(toy_worlds.Rooms):
        def observe(self):
            return {"door": 1}

    with pytest.raises(EnvError, match=r"returned the observation \['door'\], want a dict of \['door', 'place'\]"):
        worlds(Other).reset(B, seeded())
