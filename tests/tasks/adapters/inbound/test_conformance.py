"""Conformance of environments that come with Gymnasium; `make envs` has many more."""

import pytest

import conformance


@pytest.mark.parametrize("env", ["Blackjack-v1", "FrozenLake-v1", "Pendulum-v1"])
def test_an_environment_is_played_trained_in_and_resumed(env):
    results: dict[str, str] = {}
    conformance.check(conformance.World("gymnasium", "gymnasium", env), 20, results)
    assert results.keys() >= set(conformance.CHECKS)
