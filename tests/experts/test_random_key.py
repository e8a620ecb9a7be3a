"""Counter-based random numbers against integers of Python, and their use by agents."""

import pytest
import torch
from torch.testing import assert_close

from badger.rng import seeded_generator as generator
from experts import RandomKey, initial_key, random_seeds, seeded, with_random_seeds
from toy_memories import DrawingGRU
from toys import game, toy_agent

MASK = 2**64 - 1


def split_mix(seed, index):
    """Number `index` of SplitMix64, with integers of any size."""
    z = (seed + (index + 1) * 0x9E3779B97F4A7C15) & MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
    return z ^ (z >> 31)


def key(seed, step):
    return RandomKey(torch.tensor([[seed]]), torch.tensor([[step]]))


def test_the_oracle_has_the_published_numbers():
    assert [split_mix(1234567, i) for i in range(2)] == [6457827717110365317, 3203168211198807973]


@pytest.mark.parametrize(("seed", "step", "stream"), [(0, 0, 0), (3, 7, 1), (2**63 - 1, 10**6, 2)])
def test_uniform_numbers_are_the_first_bits_of_split_mix(seed, step, stream):
    inner = split_mix(split_mix(seed, step), stream)
    want = [[(split_mix(inner, 3 * i + j) // 2**41 + 0.5) / 2**23 for j in range(3)] for i in range(2)]
    for dtype in (torch.float32, torch.float64):
        got = key(seed, step).uniform(torch.empty(0, dtype=dtype), 2, 3, stream=stream)
        assert got.dtype == dtype and got[0, 0].tolist() == want


def test_normal_numbers_have_the_moments_of_a_normal_distribution():
    draws = key(5, 0).normal(torch.empty(0, dtype=torch.float64), 50_000)
    moments = torch.stack([draws.pow(p).mean() for p in (1, 2, 3, 4)])
    assert_close(moments, torch.tensor([0.0, 1, 0, 3], dtype=torch.float64), rtol=0, atol=0.08)


def test_seeds_steps_and_streams_are_uncorrelated():
    keys = [key(1, 0), key(2, 0), key(1, 1)]
    draws = [k.normal(torch.empty(0), 20_000, stream=s)[0, 0] for k, s in zip(keys * 2, (0, 0, 0, 1), strict=False)]
    assert_close(torch.stack(draws).corrcoef(), torch.eye(4), rtol=0, atol=0.03)


def test_only_keys_without_a_seed_are_seeded():
    state = (torch.zeros(2, 3), initial_key(torch.zeros(2, 3, 1)), None)
    once = seeded(state, generator(0))
    assert (random_seeds(once) > 0).all() and random_seeds(once).unique().numel() == 6
    assert random_seeds(seeded(once, generator(1))).equal(random_seeds(once))
    assert random_seeds(with_random_seeds(state, random_seeds(once))).equal(random_seeds(once))


def test_a_state_without_keys_draws_nothing():
    rng, state = generator(0), (torch.zeros(2, 3),)
    assert seeded(state, rng) is state and random_seeds(state) is None
    assert torch.rand(1, generator=rng).equal(torch.rand(1, generator=generator(0)))


def test_an_agent_seeds_every_expert_of_every_episode_and_new_ones():
    task = game()
    agent, obs = toy_agent(task, core=DrawingGRU), torch.zeros(2, task.obs_size, dtype=torch.float64)
    state = agent.initial_state(obs, generator(0))
    seeds = random_seeds(state.core)
    assert seeds.unique().numel() == 2 * agent.experts
    new = random_seeds(agent.reset(state, torch.tensor([True, False]), obs, generator(1)).core)
    assert (new[0] != seeds[0]).all() and new[1].equal(seeds[1])
    more = random_seeds(agent.add(state, 2, obs, generator(1)).core)
    assert more[:, : agent.experts].equal(seeds) and more.unique().numel() == 2 * (agent.experts + 2)
