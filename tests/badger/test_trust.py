"""Code that a description of a run names."""

import json

import pytest

from badger.errors import UntrustedCode
from badger.trust import ALL, check_trusted, code_names, modules


@pytest.mark.parametrize(
    ("recipe", "arguments", "names"),
    [
        ("evil:run", {}, ["evil:run"]),
        ("evil-mod:run", {}, ["evil-mod:run"]),
        ("badger.recipes.build:build_run", {}, ["badger.recipes.build:build_run"]),
        ("maze", {"core": "evil:Core"}, ["evil:Core"]),
        ("maze", {"core": "gymnasium:Wrapper"}, ["gymnasium:Wrapper"]),
        ("maze", {"core": ["evil:Core"]}, ["evil:Core"]),
        ("maze", {"learner.eval_policy": "evil.policies:make"}, ["evil.policies:make"]),
        ("maze", {"auxiliary_weights": {"a": [{"b": "evil:x"}]}}, ["evil:x"]),
        ("gymnasium", {"env": "evil:Env-v0"}, ["evil:Env-v0"]),
        ("gymnasium", {"env": "evil:ALE/Env-v5"}, ["evil:ALE/Env-v5"]),
        ("gymnasium", {"env": "evil:function"}, ["evil:function"]),
        ("gymnasium", {"options": '{"env_id": "evil:Env-v0"}'}, ["evil:Env-v0"]),
        ("gymnasium", {"options": '{"env_id": "\\u0065vil:Env-v0"}'}, ["evil:Env-v0"]),
        ("gymnasium", {"options": '{"wrappers": ["evil.wrappers"]}'}, ["evil.wrappers"]),
        ("gymnasium", {"options": {"env_id": "evil:Env-v0"}}, ["evil:Env-v0"]),
        ("gymnasium", {"options": json.dumps({"inner": json.dumps({"id": "evil:Env-v0"})})}, ["evil:Env-v0"]),
        ("pettingzoo", {"env": "evil"}, ["evil"]),
        ("pettingzoo", {"env": "evil.simple_v3"}, ["evil.simple_v3"]),
        ("pettingzoo", {"env": "mpe2x.simple_v3"}, ["mpe2x.simple_v3"]),
        ("my:recipe", {"env": "evil.simple_v3"}, ["my:recipe", "evil.simple_v3"]),
    ],
)
def test_names_of_code_are_found(recipe, arguments, names):
    assert code_names(recipe, {}, arguments) == names


@pytest.mark.parametrize(
    ("recipe", "arguments"),
    [
        (None, {}),
        ("maze", {"core": "gru", "device": "cuda:0", "lr": 0.1, "learner.eval_policy": "greedy"}),
        ("babi", {"data_dir": "/data/v1.2:new", "dataset_version": "en-valid-10k"}),
        ("babi", {"data_dir": "data.v1"}),
        ("gymnasium", {"env": "CartPole-v1", "options": '{"render_mode": "rgb_array"}'}),
        ("gymnasium", {"env": "popgym:popgym-RepeatPreviousEasy-v0"}),
        ("gymnasium", {"env": "ale_py:ALE/Pong-v5"}),
        ("pettingzoo", {"env": "mpe2.simple_spread_v3"}),
    ],
)
def test_registered_names_and_environment_libraries_need_no_trust(recipe, arguments):
    assert code_names(recipe, arguments) == []


def test_all_names_that_are_not_trusted_are_refused_at_once():
    names = code_names("evil:run", {"core": "mine:Core", "bus": "worse:Bus"})
    with pytest.raises(UntrustedCode, match=r"trusted=\('mine', 'evil', 'worse'\)") as error:
        check_trusted(names, ("mine",), "run.json")
    assert error.value.names == ("evil:run", "worse:Bus")


@pytest.mark.parametrize("trusted", [("a", "b.c"), (ALL,)])
def test_trusted_names_pass(trusted):
    check_trusted(["a:x", "a.sub:y", "b.c:z"], trusted, "run.json")


def test_what_is_nested_too_deeply_to_be_searched_is_refused():
    with pytest.raises(ValueError, match="options is nested too deeply"):
        code_names("gymnasium", {"options": "[" * 900 + "]" * 900})


def test_modules_are_named_once():
    assert modules(["a:x", "a:y", "b.c"]) == ("a", "b.c")
