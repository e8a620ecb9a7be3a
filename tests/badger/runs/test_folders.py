"""Which folders a run, a study or a report is written to, and how they are named."""

import os

import pytest

from badger import Run, build_run, load_run, read_metrics, train
from badger.cli.main import main
from badger.errors import RunExists
from badger.recipes.build import load_or_build, load_or_train, referenced_modules
from badger.runs.evaluations import read_evaluation, write_evaluation
from badger.runs.files import as_path
from badger.runs.run import read_description
from badger.study.compare import compare_runs
from badger.study.report import write_report
from badger.study.run import run_study
from badger.study.trial import read_result
from tiny_runs import TINY

SIZES = {"experts": 2, "dims": 2, "steps": 3, "batch": 4, "outer_steps": 1, "device": "cpu", "core.hidden_size": 6}
WORDS = ["train", "guessing_game", "--experts=2", "--dims=2", "--steps=3", "--batch=4", "--outer-steps=1"]


class AnyPath:
    """A path that is no `pathlib.Path`."""

    def __init__(self, path):
        self.path = os.fspath(path)

    def __fspath__(self):
        return self.path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A finished run. Not to be written to."""
    run = build_run("guessing_game", **SIZES)
    run.folder = tmp_path_factory.mktemp("folders") / "run"
    train(run, quiet=True, tensorboard=False)
    write_evaluation(run.folder, 1, 0, {"final_error": {"mean": 1.0, "sem": 0.0}})
    return run.folder


def entries(folder):
    return sorted(file.name for file in folder.iterdir())


READERS = [
    load_run, read_metrics, read_description, read_evaluation, read_result, referenced_modules,
    lambda path: compare_runs([path]),
    lambda path: load_or_train(path, "guessing_game", **SIZES),
    lambda path: load_or_build(path, "guessing_game", **SIZES).save(),
    lambda path: write_evaluation(path, 1, 0, {"final_error": {"mean": 1.0, "sem": 0.0}}),
]  # fmt: skip


@pytest.mark.parametrize("kind", [str, AnyPath])
@pytest.mark.parametrize("read", READERS)
def test_a_folder_may_be_a_string_or_any_path(folder, read, kind):
    read(kind(folder))


@pytest.mark.parametrize("kind", [str, AnyPath])
def test_a_run_may_be_given_a_string_as_its_folder(tmp_path, kind):
    run = build_run("guessing_game", **SIZES)
    run.folder = kind(tmp_path / "run")
    train(run, quiet=True, tensorboard=False)
    assert run.folder == tmp_path / "run" and load_run(kind(tmp_path / "run")).step == 1
    assert write_report(compare_runs([run.folder]), kind(tmp_path / "report"))


def test_a_folder_that_is_no_path_is_refused_at_once():
    run = build_run("guessing_game", **SIZES)
    with pytest.raises(TypeError):
        run.folder = 3


@pytest.mark.parametrize(
    "use",
    [
        as_path, load_run, read_metrics,
        lambda path: Run(build_run("guessing_game", **SIZES).learner, outer_steps=1, folder=path),
        lambda path: load_or_build(path, "guessing_game", **SIZES),
        lambda path: run_study(TINY, path),
        lambda path: compare_runs([path]),
    ],
)  # fmt: skip
def test_an_empty_path_is_refused(use):
    with pytest.raises(ValueError, match="an empty path"):
        use("")


@pytest.mark.parametrize("words", [WORDS, ["study", "memory-helps", "--quick"], ["compare", "RUN"]], ids=lambda w: w[0])
@pytest.mark.parametrize("flag", [["--folder", ""], ["--folder="]], ids=["two words", "one word"])
def test_an_empty_folder_on_the_command_line_is_refused(tmp_path, monkeypatch, capsys, folder, words, flag):
    monkeypatch.chdir(tmp_path)
    assert main([*(str(folder) if word == "RUN" else word for word in words), *flag]) != 0
    assert "an empty path" in capsys.readouterr().err and not entries(tmp_path)


@pytest.mark.parametrize("words", [WORDS, ["study", "memory-helps", "--quick"], ["compare", "RUN"]], ids=lambda w: w[0])
def test_a_folder_with_files_of_others_is_refused(tmp_path, capsys, folder, words):
    (tmp_path / "thesis.tex").write_text("mine")
    words = [str(folder) if word == "RUN" else word for word in words]
    assert main([*words, "--folder", str(tmp_path)]) == 2
    assert "is not empty: it has 'thesis.tex'" in capsys.readouterr().err and entries(tmp_path) == ["thesis.tex"]


def test_a_run_whose_description_is_lost_is_not_overwritten(tmp_path):
    run = build_run("guessing_game", **SIZES)
    run.folder = tmp_path / "run"
    train(run, quiet=True, tensorboard=False)
    (tmp_path / "run" / "run.json").unlink()
    before = entries(tmp_path / "run")
    with pytest.raises(RunExists):
        load_or_train(tmp_path / "run", "guessing_game", **SIZES)
    assert entries(tmp_path / "run") == before


def test_an_empty_folder_and_one_with_a_report_are_written_to(tmp_path, folder):
    for _ in range(2):
        assert main(["compare", str(folder), "--folder", str(tmp_path)]) == 0
    assert "report.md" in entries(tmp_path)


def test_an_evaluation_writes_into_any_folder(tmp_path, folder):
    (tmp_path / "thesis.tex").write_text("mine")
    words = ["--grid", "--experts", "2", "3", "--episodes", "2", "--out", str(tmp_path)]
    assert main(["evaluate", str(folder), *words]) == 0
    assert entries(tmp_path) == ["grid.csv", "grid.png", "thesis.tex"]
