"""Imports of modules that a string names."""

import sys

import pytest

from tasks.adapters.inbound.gymnasium_spec import env_factory
from tasks.adapters.inbound.multi_agent_env import parallel_env_factory
from tasks.adapters.named_imports import ALL, import_named, is_trusted, only_trusted, user_folder
from tasks.adapters.optional_imports import import_env_module, require_gymnasium


@pytest.fixture
def path(monkeypatch):
    """A copy of the path, which a test may change."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    return sys.path


@pytest.fixture
def folder(tmp_path, path):
    """A folder with a module that is not on the path."""
    (tmp_path / "module_of_a_user.py").write_text("")
    yield tmp_path
    sys.modules.pop("module_of_a_user", None)


def refused(trusted=()):
    return only_trusted(trusted, LookupError)


@pytest.mark.parametrize(
    ("module", "trusted", "expected"),
    [
        ("mine", ["mine"], True),
        ("mine.part", ["mine"], True),
        ("mine", ["mine.part"], False),
        ("mine2", ["mine"], False),
        ("other", [ALL], True),
        ("other", [], False),
    ],
)
def test_a_module_is_trusted_with_its_sub_modules(module, trusted, expected):
    assert is_trusted(module, trusted) is expected


def test_a_typed_name_is_imported():
    assert import_named("json.decoder", "json.decoder:x").__name__ == "json.decoder"


def test_a_name_from_a_file_is_refused_also_when_its_module_is_loaded():
    with refused(), pytest.raises(LookupError, match="json:loads"):
        import_named("json", "json:loads")


def test_a_trusted_module_is_imported():
    with refused(["json"]):
        assert import_named("json.decoder", "json.decoder:x")


@pytest.mark.parametrize("is_env", [True, False])
def test_an_environment_library_serves_environments_only(is_env):
    with refused():
        if is_env:
            assert import_named("gymnasium", "gymnasium:x", is_env=True)
        else:
            with pytest.raises(LookupError):
                import_named("gymnasium", "gymnasium:x")


def test_what_is_refused_ends_with_the_context():
    with refused():
        pass
    assert import_named("json", "json:loads")


@pytest.mark.parametrize("module", ["", ".json", "json."])
def test_an_incomplete_name_is_no_module(module):
    with pytest.raises(ModuleNotFoundError):
        import_named(module, module)


@pytest.mark.parametrize(
    "env",
    ["json:loads", "json:Env-v0", "gymnasium:make", "gymnasium.envs.registration:load_env_creator", "pettingzoo:utils"],
)
def test_functions_from_a_file_that_make_no_environment_are_refused(env):
    with refused(), pytest.raises((LookupError, ValueError)) as error:
        env_factory(env, {"id": "CartPole-v1"}, 0)
    assert error.type is LookupError or "has no function" in str(error.value)


@pytest.mark.parametrize(
    "env",
    ["CartPole-v1", "gymnasium:CartPole-v1", "gymnasium.envs.classic_control:CartPoleEnv"],
)
def test_environments_of_a_library_need_no_trust(env):
    with refused():
        assert env_factory(env, {}, 0)().reset(seed=0)


@pytest.mark.parametrize("env", ["json", "json.decoder", "json:loads", "pettingzoo.utils.conversions:partial"])
def test_a_module_from_a_file_that_has_no_environment_is_refused(env):
    with refused(), pytest.raises((LookupError, ValueError)) as error:
        parallel_env_factory(env)
    assert error.type is LookupError or "has no function" in str(error.value)


def test_a_module_of_pettingzoo_needs_no_trust():
    with refused():
        assert parallel_env_factory("pettingzoo.test.example_envs.generated_agents_parallel_v0")


def test_a_module_of_the_user_is_found_at_the_end_of_the_path(folder, path):
    with user_folder(str(folder)):
        import_named("module_of_a_user", "module_of_a_user:x")
    assert path[-1] == str(folder)


def test_the_folder_is_not_searched_for_an_installed_module(folder, path):
    with user_folder(str(folder)):
        import_named("json", "json:loads")
    assert str(folder) not in path


def test_the_folder_is_not_searched_for_a_library_that_a_file_names(folder, path):
    (folder / "procgen.py").write_text("raise AssertionError")
    with user_folder(str(folder)), refused(), pytest.raises(ModuleNotFoundError):
        import_named("procgen", "procgen:x", is_env=True)
    assert str(folder) not in path


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (
            "import pettingzoo.none",
            r"No module named 'pettingzoo.none'; pettingzoo 1\..* is installed, and has no",
        ),
        ("from gymnasium import no", r"cannot import name 'no'.*; gymnasium 1\..* is installed, want a version"),
        ("import no_such_thing.deep", "No module named 'no_such_thing'; it needs no_such_thing: pip install no_such_t"),
    ],
)
def test_advice_names_the_cause_and_the_version_that_is_there(source, message, tmp_path, monkeypatch):
    (tmp_path / "meadow_of_mine.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=message):
        import_env_module("meadow_of_mine", "meadow_of_mine:make")


@pytest.mark.parametrize("version", ["0.29.1", "1.0.0"])
def test_a_library_that_is_too_old_is_named_with_both_versions(version, monkeypatch):
    import gymnasium

    monkeypatch.setattr(gymnasium, "__version__", version)
    with pytest.raises(ImportError, match=rf"gymnasium {version} is installed, want gymnasium>=1.1: pip install"):
        require_gymnasium()
