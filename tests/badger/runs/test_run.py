"""The run folder: its content, and damaged files in it."""

import json
import math
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import torch

import badger
from badger import Run, build_run, load_or_train, load_run, read_metrics, train
from badger.errors import DamagedFile, Diverged, RunExists
from badger.runs import checkpoint as checkpoint_files
from badger.runs.best import TRAINING, BestFigure
from badger.runs.files import atomic_write
from badger.study.compare import compare_runs
from tiny_runs import STEPS, At, Poisoned, checkpoints, load_trusted, made, metrics, same, small_disk, strict_json, tiny

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A finished run, with all its checkpoints. Not to be written to."""
    run = made(tmp_path_factory.mktemp("done") / "run")
    run.keep_checkpoints = 100
    train(run, tensorboard=False)
    return run.folder


@pytest.fixture
def mine(done, tmp_path):
    """A copy of it."""
    return shutil.copytree(done, tmp_path / "mine")


def by_hand(folder=None):
    return Run(tiny().learner, outer_steps=STEPS, folder=folder)


def file(folder, step):
    return folder / "checkpoints" / f"step_{step:08d}.pt"


def test_run_json_has_recipe_arguments_and_versions(tmp_path):
    run = build_run("tiny_runs:tiny", seed=3)
    run.folder = tmp_path / "run"
    run.create()
    about = strict_json((tmp_path / "run" / "run.json").read_text())
    assert (about["recipe"], about["arguments"], about["outer_steps"]) == ("tiny_runs:tiny", {"seed": 3}, STEPS)
    assert about["versions"]["torch"] == torch.__version__
    assert about["versions"]["badger"] == badger.__version__
    assert {"python", "numpy"} <= set(about["versions"])


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="no git checkout")
def test_run_json_has_the_git_commit(tmp_path):
    run = made(tmp_path / "run")
    run.create()
    head = subprocess.run(["git", "rev-parse", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert json.loads((tmp_path / "run" / "run.json").read_text())["git_commit"] == head.strip()


def test_arguments_that_are_not_json_are_refused_before_writing(tmp_path):
    run = made(tmp_path / "run")
    run.arguments = {"where": tmp_path}
    with pytest.raises(ValueError, match=r"arguments of tiny_runs:tiny.*PosixPath"):
        run.create()
    assert not (tmp_path / "run").exists()


def test_the_last_checkpoints_are_kept(tmp_path):
    run = made(tmp_path / "run")
    run.keep_checkpoints = 2
    train(run, tensorboard=False)
    assert list(checkpoints(run.folder)) == ["best.pt", "step_00000025.pt", "step_00000030.pt"]


def test_best_is_the_checkpoint_of_the_highest_mean_of_the_last_100_returns(done):
    """Five updates of 20 episodes, at each of the checkpoints."""
    found, rows = checkpoints(done), read_metrics(done)
    best = found.pop("best.pt")
    assert len(found) == STEPS // 5
    means = {step: sum(row["return"] for row in rows[step - 5 : step]) / 5 for step in range(5, STEPS + 1, 5)}
    highest = max(means, key=means.__getitem__)
    assert best["learner"]["step"] == highest
    assert best["best"]["value"] == pytest.approx(means[highest], abs=1e-12)
    assert (best["best"]["kind"], best["best"]["episodes"]) == ("mean return of the last training episodes", 100)


def save_with_returns(run, *means):
    """A checkpoint after another update, in which 100 episodes have ended, for each mean return."""
    for mean in means:
        run.learner.update()
        run.returns.add(mean, 100)
        run.save()


def test_best_stays_when_the_returns_fall(tmp_path):
    run = made(tmp_path / "run")
    run.keep_checkpoints = 1
    save_with_returns(run, -2.0, -1.0, -3.0)
    assert load_trusted(run.folder).step == 3
    assert load_trusted(run.folder, best=True).step == 2


def test_there_is_no_best_before_100_episodes_have_ended(tmp_path):
    run = made(tmp_path / "run")
    run.returns.add(0.0, 99)
    run.save()
    assert not (run.folder / "checkpoints" / "best.pt").exists()
    run.returns.add(0.0, 1)
    run.save()
    assert (run.folder / "checkpoints" / "best.pt").exists()


@pytest.mark.parametrize("change", [{"kind": "of evaluations"}, {"episodes": 50}])
def test_figures_of_different_kinds_are_not_compared(tmp_path, change):
    """A higher figure of another kind does not keep its checkpoint."""
    run = made(tmp_path / "run")
    save_with_returns(run, -1.0)
    run.best = run.best._replace(**change)
    save_with_returns(run, -5.0)
    assert run.best == BestFigure(TRAINING, 100, -5.0) and load_trusted(run.folder, best=True).step == 2


def test_the_last_returns_are_saved(tmp_path):
    run = made(tmp_path / "run")
    train(run, 3, tensorboard=False)
    assert load_trusted(run.folder).returns.pack() == run.returns.pack() and len(run.returns.entries) == 3


def test_a_checkpoint_of_version_0_2_is_read(mine):
    content = torch.load(file(mine, 30), weights_only=True)
    for name in ("returns", "start_step", "platform"):
        del content[name]
    checkpoint_files.write(mine / "checkpoints", 30, content | {"best": -1.0, "processes": 1}, keep=3, best=False)
    run = load_trusted(mine)
    assert (run.step, run.best, run.returns.pack()) == (30, None, [])


def test_averages_are_exponential_moving_averages_of_the_metrics(done):
    average = None
    for row in read_metrics(done):
        average = row["return"] if average is None else 0.95 * average + 0.05 * row["return"]
        assert math.isclose(row["return_ema"], average)


def test_a_loaded_run_equals_the_saved_one(tmp_path):
    run = made(tmp_path / "run")
    train(run, 7, tensorboard=False)
    loaded = load_trusted(run.folder)
    assert same(loaded.learner.state_dict(), run.learner.state_dict())
    assert (loaded.step, loaded.averages, loaded.best, loaded.seconds) == (7, run.averages, run.best, run.seconds)
    assert (loaded.recipe, loaded.arguments, loaded.folder) == (run.recipe, run.arguments, run.folder)


def test_best_loads_the_best_checkpoint(mine):
    best = torch.load(mine / "checkpoints" / "best.pt", weights_only=True)
    run = load_trusted(mine, best=True)
    assert same(run.learner.state_dict(), best["learner"])


def test_training_from_the_best_checkpoint_needs_another_folder(mine, tmp_path):
    """Here it would overwrite what came after."""
    (mine / "checkpoints" / "best.pt").write_bytes(file(mine, 10).read_bytes())
    run = load_trusted(mine, best=True)
    with pytest.raises(RunExists):
        train(run, tensorboard=False)
    run.folder = tmp_path / "other"
    train(run, 2, tensorboard=False)
    assert [row["step"] for row in read_metrics(tmp_path / "other")] == [11, 12]
    assert len(read_metrics(mine)) == STEPS and load_trusted(mine).step == STEPS


def test_a_run_built_by_hand_is_loaded_with_its_builder(tmp_path):
    run = by_hand(tmp_path / "run")
    train(run, 5, tensorboard=False)
    loaded = load_trusted(tmp_path / "run", build=by_hand)
    assert same(loaded.learner.state_dict(), run.learner.state_dict())
    train(loaded, 1, tensorboard=False)
    assert load_trusted(tmp_path / "run", build=by_hand).step == 6


def test_a_run_built_by_hand_is_not_loaded_without_its_builder(tmp_path):
    by_hand(tmp_path / "run").save()
    with pytest.raises(ValueError, match=r"built by hand.*badger\.load_run\(.*build=my_function\)"):
        load_trusted(tmp_path / "run")


def test_a_run_without_folder_keeps_its_metrics_in_history():
    run = tiny()
    train(run, 5)
    assert [row["step"] for row in run.history] == [1, 2, 3, 4, 5]
    with pytest.raises(ValueError, match=r"set run\.folder"):
        run.save()


def test_train_continues_for_a_number_of_steps(tmp_path):
    run = made(tmp_path / "run")
    train(run, 4, tensorboard=False)
    loaded = load_trusted(run.folder)
    train(loaded, 3, tensorboard=False)
    assert loaded.step == load_trusted(run.folder).step == 7


@pytest.mark.parametrize("write", [Run.create, Run.save, lambda run: train(run, 1, tensorboard=False)])
def test_no_run_overwrites_another(mine, write):
    before = metrics(mine)
    with pytest.raises(RunExists, match=f"`badger resume {mine}`"):
        write(made(mine))
    assert metrics(mine) == before and load_trusted(mine).step == STEPS


def test_a_folder_with_files_of_others_is_not_written_to(tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(RunExists, match=r"is not empty: it has 'notes\.txt', and holds no run"):
        train(made(tmp_path), 1, tensorboard=False)
    assert [file.name for file in tmp_path.iterdir()] == ["notes.txt"]


@pytest.mark.parametrize("left", ["unfinished-123.tmp", "result.json"])
def test_a_run_whose_creation_was_killed_is_created_again(tmp_path, left):
    (tmp_path / left).write_text("{}")
    train(made(tmp_path), 1, tensorboard=False)
    assert load_trusted(tmp_path).step == 1


def damaged(path, how):
    """Truncates to a share of the file, or flips one bit at a place, counted from the end if negative."""
    data = bytearray(path.read_bytes())
    if isinstance(how, float):
        del data[int(len(data) * how) :]
    else:
        data[how] ^= 0x10
    path.write_bytes(data)


@pytest.mark.parametrize("how", [0.0, 0.01, 0.5, 0.999, 0, 9000, -1, -100, -300, -1000, -2000, -3000])
def test_a_damaged_checkpoint_is_named_and_the_one_before_is_used(mine, how):
    damaged(file(mine, 30), how)
    with pytest.warns(UserWarning, match=r"loaded .*step_00000025\.pt.* step_00000030\.pt.*truncated, damaged or no"):
        run = load_trusted(mine)
    assert run.step == 25
    assert same(run.learner.state_dict(), torch.load(file(mine, 25), weights_only=True)["learner"])


def test_no_bit_of_a_checkpoint_may_change(mine):
    """Zip's own checksums leave out its directory, from which a tensor may be read wrongly."""
    content = torch.load(file(mine, 30), weights_only=True)
    size = file(mine, 30).stat().st_size
    whole = file(mine, 30).read_bytes()
    for place in range(7, size, 211):
        damaged(file(mine, 30), place)
        with pytest.raises(DamagedFile):
            checkpoint_files.read(file(mine, 30))
        file(mine, 30).write_bytes(whole)
    assert same(checkpoint_files.read(file(mine, 30)), content)


def test_damage_that_torch_load_does_not_notice_is_detected(mine):
    """torch.load alone would not notice."""
    weights = torch.load(file(mine, 30), weights_only=True)["learner"]["agent"]
    data = next(w for w in weights.values() if w.numel() > 100).numpy().tobytes()
    place = file(mine, 30).read_bytes().index(data) + 5
    damaged(file(mine, 30), place)
    assert not same(torch.load(file(mine, 30), weights_only=True)["learner"]["agent"], weights)
    with pytest.warns(UserWarning, match="step_00000025"):
        assert load_trusted(mine).step == 25


def test_another_torch_file_is_no_checkpoint(mine):
    torch.save({"weights": torch.ones(3)}, file(mine, 30))
    with pytest.warns(UserWarning, match=r"step_00000030\.pt.*no checkpoint"):
        assert load_trusted(mine).step == 25


def test_a_checkpoint_of_another_recipe_is_named_and_not_used(mine, tmp_path):
    other = build_run("guessing_game", **{"core.hidden_size": 6}, outer_steps=1, device="cpu")
    other.folder = tmp_path / "other"
    other.save()
    shutil.copy(file(other.folder, 0), file(mine, 40))
    with pytest.warns(
        UserWarning, match=r"step_00000040\.pt: it is a checkpoint of guessing_game .*, want tiny_runs:tiny"
    ):
        assert load_trusted(mine).step == STEPS


def test_a_checkpoint_of_other_arguments_is_named_and_not_used(mine, tmp_path):
    made(tmp_path / "other", seed=1).save()
    shutil.copy(file(tmp_path / "other", 0), file(mine, 40))
    with pytest.warns(UserWarning, match=r"step_00000040\.pt: it is a checkpoint of tiny_runs:tiny {'seed': 1}"):
        assert load_trusted(mine).step == STEPS


def test_a_checkpoint_of_other_sizes_is_named_and_not_used(tmp_path):
    """Nobody else would know that the function that builds a run by hand has changed."""
    by_hand(tmp_path / "run").save()
    with pytest.raises(ValueError, match=r"(?s)step_00000000\.pt.*size mismatch"):
        load_trusted(
            tmp_path / "run", build=lambda: build_run("guessing_game", **{"core.hidden_size": 7}, outer_steps=1)
        )


def test_where_no_checkpoint_is_good_each_is_named(mine):
    files = [f for f in (mine / "checkpoints").iterdir() if f.name.startswith("step")]
    for each in files:
        damaged(each, 0.5)
    with pytest.raises(ValueError, match="no valid checkpoint") as error:
        load_trusted(mine)
    assert len(files) == 6 and all(each.name in str(error.value) for each in files)


def test_training_continues_from_the_last_undamaged_checkpoint(mine, done):
    for step in (25, 30):
        damaged(file(mine, step), 0.5)
    with pytest.warns(UserWarning, match="step_00000020"):
        run = load_trusted(mine)
    run.keep_checkpoints = 1
    train(run, 3, tensorboard=False)
    with pytest.warns(UserWarning, match="step_00000023"):  # the newest that is good is not the newest
        assert load_trusted(mine).step == 23
    train(run, tensorboard=False)
    assert same(load_trusted(mine).learner.state_dict(), load_trusted(done).learner.state_dict())
    assert metrics(mine) == metrics(done)


def test_other_files_among_the_checkpoints_are_left_alone(mine):
    shutil.copy(file(mine, 30), mine / "checkpoints" / "step_best_so_far.pt")
    run = load_trusted(mine)
    train(run, 1, tensorboard=False)
    assert (mine / "checkpoints" / "step_best_so_far.pt").exists()


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", '{"recipe": "tiny_runs:tiny"}', '{"recipe": null, "arguments": 3}']
)
def test_a_damaged_run_json_is_named(mine, text):
    (mine / "run.json").write_text(text)
    with pytest.raises(ValueError, match=r"run\.json is damaged"):
        load_trusted(mine)


def test_a_folder_without_run_json_holds_no_run(mine):
    (mine / "run.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"holds no run: there is no .*run\.json"):
        load_trusted(mine)


@pytest.mark.parametrize("name", ["outer_steps", "log_every", "save_every", "inspect_every", "keep_checkpoints"])
def test_intervals_are_at_least_one(name):
    with pytest.raises(ValueError, match=f"{name}=0, want at least 1"):
        Run(tiny().learner, **{"outer_steps": 1, name: 0})


def test_a_full_disk_stops_the_run_and_spares_the_former_checkpoint(mine, done):
    """The next checkpoint is as large as those before; only so much of it is written."""
    for step in (25, 30):
        file(mine, step).unlink()
    run, before = load_trusted(mine), file(mine, 20).read_bytes()
    with small_disk(len(before) - 1), pytest.raises(OSError, match="outer step 25 could not be saved") as error:
        train(run, tensorboard=False)
    assert f"badger resume {mine}" in str(error.value)
    assert file(mine, 20).read_bytes() == before
    assert not list(mine.rglob("*.tmp"))
    train(load_trusted(mine), tensorboard=False)
    assert same(load_trusted(mine).learner.state_dict(), load_trusted(done).learner.state_dict())
    assert metrics(mine) == metrics(done)


def test_atomic_write_replaces_the_whole_file_or_nothing(tmp_path):
    (tmp_path / "file").write_bytes(b"as it was")
    with small_disk(100_000), pytest.raises(OSError, match=f"File too large: '{tmp_path / 'file'}'"):
        atomic_write(tmp_path / "file", b"one", b"two" * 100_000)
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("file", b"as it was")]
    atomic_write(tmp_path / "file", b"one", b"two")
    assert [(f.name, f.read_bytes()) for f in tmp_path.iterdir()] == [("file", b"onetwo")]


def test_a_failed_save_is_not_the_best_checkpoint(tmp_path):
    run = made(tmp_path / "run")
    run.returns.add(-1.0, 100)
    with small_disk(1000), pytest.raises(OSError, match=r"best\.pt"):
        run.save()
    run.save()
    assert (tmp_path / "run" / "checkpoints" / "best.pt").exists()


def test_divergence_reports_the_step_the_norms_and_the_last_checkpoint(tmp_path):
    run = Poisoned.at(made(tmp_path / "run"), 13)
    run.log_every = 100
    message = r"outer step 13 .*loss nan, gradient norm nan, parameter norm \d.*checkpoint: .*step_00000010\.pt"
    with pytest.raises(Diverged, match=message):
        train(run, tensorboard=False)


def test_divergence_before_the_first_checkpoint_is_reported(tmp_path):
    with pytest.raises(Diverged, match="checkpoint: none"):
        train(Poisoned.at(made(tmp_path / "run"), 1), tensorboard=False)


@pytest.mark.parametrize("log_every", [1, 100])
def test_no_checkpoint_is_written_after_a_run_has_diverged(tmp_path, log_every):
    """Not even where the save comes before the next look at the log."""
    run = Poisoned.at(made(tmp_path / "run"), 13)
    run.log_every = log_every
    with pytest.raises(Diverged):
        train(run, tensorboard=False)
    assert list(checkpoints(run.folder)) == ["best.pt", "step_00000005.pt", "step_00000010.pt"]


def test_an_update_that_is_not_finite_never_reaches_the_parameters(tmp_path):
    run = Poisoned.at(made(tmp_path / "run"), 13)
    before = []
    At.change(run, 13, lambda: before.append([p.clone() for p in run.learner.agent.parameters()]))
    run.learner.__class__ = type("Both", (At, Poisoned), {})
    with pytest.raises(Diverged):
        train(run, tensorboard=False)
    assert run.step == 14  # a look at the log later
    assert all(p.isfinite().all() for p in run.learner.agent.parameters())
    assert same(checkpoints(run.folder)["step_00000010.pt"]["averages"].keys(), {"return": 0, "final_error": 0}.keys())


def test_the_metrics_of_a_run_that_diverged_are_on_disk_in_strict_json(tmp_path):
    with pytest.raises(Diverged):
        train(Poisoned.at(made(tmp_path / "run"), 13), tensorboard=False)
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    rows = [strict_json(line) for line in lines]
    assert [row["step"] for row in rows] == list(range(1, 15))
    assert rows[12]["loss"] is None and rows[12]["finite"] == 0
    assert all(math.isfinite(row["loss"]) for row in rows if row["step"] != 13)


def test_divergence_is_detected_without_norms(tmp_path):
    run = Poisoned.at(made(tmp_path / "run"), 2)
    update = run.learner.update
    run.learner.update = lambda: {k: v for k, v in update().items() if k in ("return", "final_error", "finite")}
    with pytest.raises(Diverged, match="outer step 2 "):
        train(run, tensorboard=False)


def test_a_missing_score_does_not_change_its_average(tmp_path):
    run = made(None)
    update = run.learner.update

    def seldom():
        message = update()
        return message | {"final_error": message["final_error"] if run.step == 2 else torch.tensor(torch.nan)}

    run.learner.update = seldom
    train(run, 4)
    due = run.history[1]["final_error"]
    averages = [row["final_error_ema"] for row in run.history]
    assert math.isnan(averages[0]) and averages[1:] == [due] * 3


def edited(folder, **changes):
    """A run folder whose run.json says something else."""
    about = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps(about | changes))
    return folder


@pytest.mark.parametrize("versions", [{"torch": "2.6"}, {"torch": "2.6", "badger": "0.1.0"}])
@pytest.mark.parametrize(
    "read",
    [
        load_run,
        load_trusted,
        lambda folder: load_run(folder, build=by_hand),
        lambda folder: load_or_train(folder, "tiny_runs:tiny"),
        lambda folder: compare_runs([folder]),
    ],
)
def test_a_run_of_version_0_1_is_refused_in_one_line(mine, read, versions):
    line = f"{mine} was written by badger-agents 0.1.0; read it with commit 53bf7fa (the last of 0.1) or train it again"
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        read(edited(mine, versions=versions))


def test_a_run_of_someone_elses_recipe_is_loaded_where_its_module_is_trusted(mine):
    with pytest.raises(ValueError, match=r"'tiny_runs:tiny'.*--trust-code.*trusted=\('other', 'tiny_runs'\)"):
        load_run(mine, trusted=("other",))
    assert load_run(mine, trusted=("other", "tiny_runs")).step == STEPS


@pytest.mark.parametrize("arguments", [{"core": "evil:Core"}, {"core.cells": [{"of": "evil:Core"}]}])
def test_code_that_is_not_trusted_is_not_imported(mine, arguments, tmp_path, monkeypatch):
    (tmp_path / "evil.py").write_text("raise AssertionError('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"'evil:Core'.*trusted=\('tiny_runs', 'evil'\)"):
        load_run(edited(mine, arguments=arguments), trusted=("tiny_runs",))
    with pytest.raises(ValueError, match=r"'evil:recipe'.*--trust-code"):
        load_run(edited(mine, recipe="evil:recipe", arguments={}))


def test_a_run_that_the_library_makes_needs_no_trust(tmp_path):
    run = build_run("guessing_game", outer_steps=1, batch=2, device="cpu")
    run.folder = tmp_path / "run"
    run.save()
    assert load_run(tmp_path / "run").step == 0


def test_the_command_that_continues_a_run_trusts_what_was_trusted(mine):
    assert load_trusted(mine).shell_command("resume") == f"badger resume {mine} --trust-code"
    run = build_run("guessing_game", outer_steps=1, device="cpu")
    run.folder = "runs/mine"
    assert run.shell_command("resume") == "badger resume runs/mine"
