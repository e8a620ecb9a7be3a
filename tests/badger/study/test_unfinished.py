"""Unfinished trainings: kept in the repository, restored into a new folder, resumed."""

import json
import shutil

import pytest

from badger import read_metrics
from badger.cli.main import main
from badger.errors import UntrustedCode
from badger.recipes.build import load_or_build
from badger.runs.training import train
from badger.study import STUDIES, StudyResults
from badger.study.published import PUBLISHED, PublishedResult, unfinished
from badger.study.published.kept_results import results_to_json
from badger.study.published.unfinished import keep_unfinished, restore_unfinished
from badger.study.trial import Trial, read_result, run_trial
from forked_children import patch_children
from tiny_runs import TINY, checkpoints, metrics, processes, same

ROW, ARMS = "tiny-row", ("long",)
COMMAND = ["study", "reproduce", ROW]


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """The folder of kept results of a checkout."""
    root = tmp_path / "checkout"
    root.mkdir()
    for module in ("unfinished", "kept_results"):
        monkeypatch.setattr(f"badger.study.published.{module}.FOLDERS", (tmp_path / "no wheel", root))
    monkeypatch.setitem(STUDIES, "tiny", TINY)
    row = PublishedResult(name=ROW, text="x", source="x", study="tiny", arm="long", published=1.0)
    monkeypatch.setitem(PUBLISHED, ROW, row)
    return root


def stopped(folder, steps=5):
    """A study that was stopped after some outer steps of the first run."""
    job = Trial(TINY, "long", 0, folder, tensorboard=False)
    unfinished.write_definition(TINY, folder)
    run = load_or_build(job.folder, "tiny_runs:tiny", **job.expected["arguments"])
    train(run, steps, quiet=True, tensorboard=False)
    return folder


def kept_run(tmp_path, kept):
    """The folder where a run is kept after five outer steps."""
    keep_unfinished(TINY, ARMS, stopped(tmp_path / "study"), ROW)
    return kept / "unfinished" / ROW


def interrupted(folder, monkeypatch):
    """The same, by the study itself: after the milestone at outer step 4, and one step more."""
    job = Trial(TINY, "long", 0, folder, tensorboard=False)
    unfinished.write_definition(TINY, folder)

    def stop(run, steps, **options):
        train(run, min(steps, 5 - run.step), **options)
        if run.step == 5:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr("badger.study.trial.train", stop)
        run_trial(job)
    return folder


def test_what_is_stopped_kept_restored_and_resumed_is_bit_for_bit_what_was_not_stopped(
    tmp_path, kept, monkeypatch, capfd
):
    interrupted(tmp_path / "stopped", monkeypatch)
    assert main([*COMMAND, "--keep", "--folder", str(tmp_path / "stopped")]) == 0
    assert "long/seed-0 at outer step 5" in capfd.readouterr().out
    shutil.rmtree(tmp_path / "stopped")

    patch_children(monkeypatch, processes)
    assert main([*COMMAND, "--seeds", "1", "--no-tensorboard", "--folder", str(tmp_path / "new")]) == 0
    assert "restored long/seed-0, kept at outer step 5" in capfd.readouterr().err
    whole = Trial(TINY, "long", 0, tmp_path / "whole", tensorboard=False)
    run_trial(whole)
    resumed = tmp_path / "new" / "long" / "seed-0"
    assert read_result(resumed) == read_result(whole.folder) and len(read_result(resumed)["scores"]) == 2
    assert metrics(resumed) == metrics(whole.folder)
    assert same(checkpoints(resumed)["step_00000012.pt"], checkpoints(whole.folder)["step_00000012.pt"])


def test_only_the_newest_checkpoint_is_kept(tmp_path, kept):
    target = kept_run(tmp_path, kept)
    keep_unfinished(TINY, ARMS, stopped(tmp_path / "study"), ROW)
    files = sorted(str(file.relative_to(target / "long" / "seed-0")) for file in target.rglob("seed-0/**/*.*"))
    assert files == ["checkpoints/step_00000010.pt", "metrics.jsonl", "run.json"]
    assert len(read_metrics(target / "long" / "seed-0")) == 10


def test_a_run_that_is_further_stays(tmp_path, kept):
    keep_unfinished(TINY, ARMS, stopped(tmp_path / "far", 7), ROW)
    near = stopped(tmp_path / "near", 5)
    assert keep_unfinished(TINY, ARMS, near, ROW) == {}
    far = stopped(tmp_path / "further", 9)
    assert restore_unfinished(TINY, ARMS, far, ROW) == {}
    assert restore_unfinished(TINY, ARMS, near, ROW) == {"long/seed-0": 7}


def test_once_results_are_kept_what_is_unfinished_is_not_used(tmp_path, kept):
    kept_run(tmp_path, kept)
    facts = {"score": "final_error", "better": "lower", "threshold": None, "references": {}, "outcomes": []}
    results = StudyResults(name="tiny", claim="x", arms=ARMS, **facts)
    (kept / "tiny").mkdir()
    (kept / "tiny" / "results.json").write_text(results_to_json(results))
    assert restore_unfinished(TINY, ARMS, tmp_path / "new", ROW) == {} and not (tmp_path / "new").exists()
    with pytest.raises(ValueError, match="the results of tiny are kept already"):
        keep_unfinished(TINY, ARMS, tmp_path / "study", ROW)


def test_more_than_the_limit_is_not_kept(tmp_path, kept, monkeypatch):
    monkeypatch.setattr(unfinished, "MAX_BYTES", 1000)
    with pytest.raises(ValueError, match=r"1 runs have 0\.\d MB, long/seed-0 0\.\d MB; want at most 0 MB"):
        keep_unfinished(TINY, ARMS, stopped(tmp_path / "study"), ROW)
    assert not (kept / "unfinished").exists()


def test_what_is_kept_of_another_definition_is_named(tmp_path, kept):
    target = kept_run(tmp_path, kept)
    (target / "study.json").write_text(
        (target / "study.json").read_text().replace('"outer_steps": 12', '"outer_steps": 9')
    )
    with pytest.raises(ValueError, match=r"arms\.long=.*9.*; delete .*unfinished"):
        restore_unfinished(TINY, ARMS, tmp_path / "new", ROW)


def test_code_that_a_kept_run_names_is_not_executed(tmp_path, kept):
    target = kept_run(tmp_path, kept)
    file = target / "long" / "seed-0" / "run.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"resolved": {"act": "evil:Act"}}))
    restore_unfinished(TINY, ARMS, tmp_path / "new", ROW)
    with pytest.raises(UntrustedCode, match="evil:Act"):
        run_trial(Trial(TINY, "long", 0, tmp_path / "new", tensorboard=False))


@pytest.mark.parametrize(
    ("words", "message"),
    [(["--keep", "--report"], "want the name"), ([ROW, "--keep"], "no run of long has a checkpoint in --folder runs/")],
)
def test_keep_wants_a_name_and_runs(tmp_path, kept, monkeypatch, capsys, words, message):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "reproduce", *words]) == 2
    assert message in capsys.readouterr().err
