"""Run folders from a stranger: nothing that they name is executed."""

import json
import shutil
import sys

import pytest
import torch

from badger import build_run, load_run, train
from badger.cli.main import main
from badger.errors import UntrustedCode
from badger.recipes.build import load_or_build
from badger.runs import checkpoint
from badger.study.compare import compare_runs

SIZES = {"experts": 2, "dims": 2, "steps": 3, "batch": 4, "outer_steps": 2, "device": "cpu", "core.hidden_size": 6}
EVIL = "import pathlib\n(pathlib.Path(__file__).parent / 'executed').touch()\n\n\ndef run(*args, **options): ...\n"

SPELLINGS = {
    "recipe": {"recipe": "evil:run"},
    "recipe of the standard library": {"recipe": "subprocess:getoutput", "arguments": {"cmd": "touch executed"}},
    "recipe with a hyphen": {"recipe": "evil-mod:run"},
    "recipe that is no recipe": {"recipe": "badger.study.execution.jobs:run_jobs"},
    **{
        part: {"recipe": "t_maze", "arguments": {part: "evil:run"}}
        for part in ("core", "sense", "bus", "topology", "act", "learner", "learner.eval_policy")
    },
    "part with spaces": {"recipe": "t_maze", "arguments": {"core": "evil :run"}},
    "default": {"recipe": "t_maze", "arguments": {}, "defaults": {"core": "evil:run"}},
    "nested list": {"recipe": "t_maze", "arguments": {"core": [["evil:run"]]}},
    "nested object": {"recipe": "t_maze", "arguments": {"auxiliary_weights": {"a": {"b": "evil:run"}}}},
    "function as environment": {"recipe": "gymnasium", "arguments": {"env": "evil:run"}},
    "function of the standard library": {
        "recipe": "gymnasium", "arguments": {"env": "subprocess:getoutput", "options": '{"cmd": "touch executed"}'}
    },
    "function of an environment library": {
        "recipe": "gymnasium", "arguments": {"env": "gymnasium:make", "options": '{"id": "evil:Env-v0"}'}
    },
    "package of gymnasium": {"recipe": "gymnasium", "arguments": {"env": "evil:Env-v0"}},
    "package of gymnasium with a hyphen": {"recipe": "gymnasium", "arguments": {"env": "evil-mod:Env-v0"}},
    "options": {"recipe": "gymnasium", "arguments": {"options": '{"env_id": "evil:Env-v0"}'}},
    "module in options": {"recipe": "gymnasium", "arguments": {"options": '{"wrappers": ["evil.sub"]}'}},
    "module of pettingzoo": {"recipe": "pettingzoo", "arguments": {"env": "evil"}},
    "sub-module of pettingzoo": {"recipe": "pettingzoo", "arguments": {"env": "evil.sub"}},
    "module of pettingzoo with a hyphen": {"recipe": "pettingzoo", "arguments": {"env": "evil-mod"}},
    "function of pettingzoo": {"recipe": "pettingzoo", "arguments": {"env": "evil:run"}},
}  # fmt: skip


@pytest.fixture
def evil(tmp_path, monkeypatch):
    """A folder whose modules can be imported, and leave a file `executed`; commands run there."""
    for name in ("evil", "evil-mod"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in ("evil", "evil-mod"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A finished run. Not to be written to."""
    run = build_run("guessing_game", **SIZES)
    run.folder = tmp_path_factory.mktemp("good") / "run"
    train(run, quiet=True, tensorboard=False)
    return run.folder


def edited(folder, good, **changes):
    """A copy of a run whose run.json says something else."""
    shutil.copytree(good, folder)
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | {"defaults": {}} | changes))
    return folder


def nothing_was_executed(evil):
    return not (evil / "executed").exists() and not {"evil", "evil-mod"} & set(sys.modules)


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_code_that_a_run_names_is_refused(evil, good, spelling):
    with pytest.raises(UntrustedCode, match="--trust-code") as error:
        load_run(edited(evil / "run", good, **SPELLINGS[spelling]))
    assert error.value.names and nothing_was_executed(evil)


@pytest.mark.parametrize("command", ["evaluate", "evaluate --grid", "resume", "inspect"])
def test_a_command_refuses_code_and_prints_the_command_that_allows_it(evil, good, capsys, command):
    edited(evil / "run", good, recipe="evil:run", arguments={"core": "worse:Core"})
    assert main([*command.split(), "run"]) == 1
    error = capsys.readouterr().err
    assert f"badger {command} run --trust-code" in error and "'evil:run', 'worse:Core'" in error
    assert nothing_was_executed(evil)


def test_compare_reads_files_alone(evil, good):
    edited(evil / "run", good, recipe="evil:run", arguments={"core": "evil:run"})
    assert compare_runs([evil / "run"]).score == "final_error"
    assert nothing_was_executed(evil)


@pytest.mark.parametrize("trusted", [("evil",), "evil", "*"])
def test_a_trusted_module_is_imported(evil, good, trusted):
    folder = edited(evil / "run", good, recipe="evil:run", arguments={})
    with pytest.raises(ValueError, match=r"'evil:run' returned NoneType, want a badger\.Run"):
        load_run(folder, trusted=trusted)
    assert (evil / "executed").exists()


def test_arguments_that_are_typed_trust_no_default_of_a_file(evil, good):
    folder = edited(evil / "run", good, defaults={"core": "evil:run"})
    with pytest.raises(UntrustedCode, match="'evil:run'"):
        load_or_build(folder, "guessing_game", **SIZES)
    assert nothing_was_executed(evil)


@pytest.mark.parametrize("field", [{"recipe": "evil:run"}, {"arguments": '{"core": "evil:run"}'}])
def test_code_that_a_checkpoint_names_is_not_imported(evil, good, field):
    folder = edited(evil / "run", good)
    files = folder / "checkpoints"
    content = torch.load(checkpoint.path(files, 2), weights_only=True)
    checkpoint.write(files, 2, content | field, keep=3, best=True)
    with pytest.raises(ValueError, match="it is a checkpoint of"):
        load_run(folder)
    assert nothing_was_executed(evil)


class Executes:
    """An object that executes code when it is unpickled."""

    def __reduce__(self):
        return eval, ("open('executed', 'w')",)


@pytest.mark.parametrize("place", ["learner", "averages", "extra"])
def test_a_checkpoint_with_a_pickled_object_is_damaged_and_the_one_before_is_used(evil, good, place):
    folder = edited(evil / "run", good)
    files = folder / "checkpoints"
    content = torch.load(checkpoint.path(files, 2), weights_only=True)
    checkpoint.write(files, 3, content | {place: Executes()}, keep=3, best=False)
    with pytest.warns(UserWarning, match=r"step_00000003\.pt.*cannot be read safely, UnpicklingError"):
        assert load_run(folder).step == 2
    assert nothing_was_executed(evil)
