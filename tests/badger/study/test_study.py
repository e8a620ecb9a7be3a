"""Studies: what is run, what is written down, and that no way of being stopped changes it."""

import csv
import dataclasses
import fcntl
import json
import math
import os
import re
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import badger.rng
from badger import STUDIES, Arm, build_run, evaluate, generator, read_metrics, train
from badger.cli.main import main
from badger.study import QuickOverrides, Study, compare, find_study, tables
from badger.study import plots as pictures
from badger.study import process_pool as workers
from badger.study.report import report_markdown, write_report
from badger.study.results import StudyResults, TrialResult, collect_results
from badger.study.run import _exclusive_lock
from badger.study.run import run_study as run_study
from badger.study.trial import Trial, evaluate_trial, is_finished, run_trial
from tiny_runs import TINY, load_trusted, made, metrics, perform_until, processes, scalars, spread_hold, start

ROOT = Path(__file__).resolve().parents[3]


def make_tiny(patch):
    """Workers are forked from a server that has imported everything; a test of its own spawns them. Of runs of 12 steps
    every average counts."""
    patch.setattr(workers.multiprocessing, "get_context", lambda method: processes)
    patch.setattr("badger.runs.milestones.SETTLED", 1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The tiny study that nothing interrupts."""
    folder = tmp_path_factory.mktemp("whole") / "study"
    with pytest.MonkeyPatch.context() as patch:
        make_tiny(patch)
        write_report(run_study(TINY, folder, workers=2, tensorboard=False, quiet=True), folder)
    return folder


@pytest.fixture
def command(capsys):
    def run(*words):
        try:
            code = main([str(word) for word in words])
        except SystemExit as stop:  # of tyro
            code = stop.code
        return code, *capsys.readouterr()

    return run


def read_csv(folder, name):
    with (folder / f"{name}.csv").open() as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if "seconds" not in k} for row in rows]


def assert_same(folder, whole):
    """All that a study tells, but the time it took."""
    for file in sorted(file.relative_to(whole) for file in whole.rglob("*.json") if file.name != "run.json"):
        assert json.loads((folder / file).read_text()) == json.loads((whole / file).read_text()), file
    for run in sorted(file.parent.relative_to(whole) for file in whole.rglob("run.json")):
        assert metrics(folder / run) == metrics(whole / run)
    for name in ("runs", "summary"):
        assert read_csv(folder, name) == read_csv(whole, name)
    one, other = ((f / "report.md").read_text().split("## Time")[0] for f in (folder, whole))
    assert one == other
    for picture in whole.glob("*.png"):
        assert (folder / picture.name).read_bytes() == picture.read_bytes()


def wait_for(file):
    end = time.monotonic() + 100
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < end, f"nothing in {file}"
        time.sleep(0.01)


def job(folder, arm="short", seed=0, of=TINY, tensorboard=False):
    return Trial(of, arm, seed, folder, tensorboard)


def outcome(arm, seed, *, reached=None, final=0.0, **known):
    scores = {10: {"": {"error": {"mean": final, "error": 0.1}}}}
    told = {"steps": 10, "goal": 10, "seconds": 5.0, "curve": ([1, 10], [1.0, 0.5]), "scores": scores} | known
    return TrialResult(
        arm=arm, seed=seed, threshold_reached=None if reached is None else (reached, reached / 2), **told
    )


def evidence(outcomes, **known):
    told = {"name": "made-up", "claim": "", "arms": list(dict.fromkeys(o.arm for o in outcomes)), "score": "error"}
    told |= {"better": "lower", "threshold": 0.1, "references": {}, "outcomes": outcomes}
    return StudyResults(**(told | known))


# What is run


def test_every_arm_is_trained_in_every_seed_by_its_recipe(whole):
    for arm, seed in [("short", 0), ("short", 1), ("long", 0), ("long", 1)]:
        run = load_trusted(whole / arm / f"seed-{seed}")
        steps = TINY.arms[arm].arguments["outer_steps"]
        assert (run.step, run.recipe) == (steps, "tiny_runs:tiny")
        assert run.arguments == {"outer_steps": steps, "seed": seed}


def test_a_run_of_a_study_learns_what_it_would_have_learned_alone(whole, tmp_path):
    train(made(tmp_path / "run", outer_steps=6, seed=1), tensorboard=False)
    assert metrics(whole / "short" / "seed-1") == metrics(tmp_path / "run")


def test_a_milestones_score_is_that_of_the_agent_at_that_step(whole):
    run = build_run("tiny_runs:tiny", outer_steps=12, seed=1)
    for step in (4, 12):
        train(run, step - run.step)
        values = evaluate(run.learner.agent, run.learner.task, 8, generator(1, "study-evaluation", step))
        told = json.loads((whole / "long" / "seed-1" / "result.json").read_text())["scores"][str(step)][""]
        assert told["final_error"]["mean"] == values["final_error"].double().mean().item()
        assert told["final_error"]["error"] == pytest.approx(values["final_error"].double().std().item() / math.sqrt(8))


def test_evaluation_episodes_are_met_by_no_training(tmp_path, monkeypatch):
    met, real = [], np.random.SeedSequence
    monkeypatch.setattr(badger.rng.np.random, "SeedSequence", lambda words: met.append(tuple(words)) or real(words))
    run = made(tmp_path / "run", outer_steps=6)
    train(run)  # with looks
    trained, _ = set(met), met.clear()
    evaluate_trial(run.learner, run.learner.task, 8, 6, run.device)
    assert met and trained and not trained & set(met)


def test_evaluations_play_the_task_with_their_fields(tmp_path):
    own = dataclasses.replace(TINY, milestones=(), evaluations={"as trained": {}, "longer": {"steps": 5}})
    run_trial(job(tmp_path, of=own))
    told = json.loads((tmp_path / "short" / "seed-0" / "result.json").read_text())["scores"]["6"]
    run = load_trusted(tmp_path / "short" / "seed-0")
    for name, steps in {"as trained": 3, "longer": 5}.items():
        task = dataclasses.replace(run.learner.task, steps=steps)
        values = evaluate(run.learner.agent, task, 8, generator(0, "study-evaluation", 6))
        assert told[name]["final_error"]["mean"] == values["final_error"].double().mean().item()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"score": "return"}, "score='return', want 'final_error', that of GuessingGame"),
        ({"milestones": (7,)}, "milestone 7, but runs end after 6 outer steps"),
        (
            {"evaluations": {"test": {"split": 1}}},
            "evaluation 'test': GuessingGame has no split to change; it has steps, ",
        ),
    ],
)
def test_a_study_that_does_not_fit_its_task_is_explained_before_it_trains(tmp_path, changes, message):
    own = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=message):
        run_trial(job(tmp_path, of=own))
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"arms": {}}, "needs an arm"),
        ({"milestones": (0,)}, r"milestones=\(0,\), want outer steps from 1 on"),
        ({"arms": {"a/b": Arm("tiny_runs:tiny")}}, "'a/b' is no name of a folder"),
        ({"arms": {"a": Arm("tiny_runs:tiny", {"seed": 3})}}, "arm 'a' sets its seed"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize("name", STUDIES)
def test_a_registered_study_and_its_quick_version_fit_their_recipes(name):
    assert STUDIES[name].name == name
    for each in (STUDIES[name], STUDIES[name].quick_version()):
        for arm in each.arms.values():
            pytest.importorskip(arm.arguments.get("env", "badger").partition(".")[0])
            run = build_run(arm.recipe, **arm.arguments, seed=0, device="cpu")
            assert run.learner.task.score == each.score
            assert max(each.milestones, default=1) <= run.outer_steps


def test_the_quick_version_changes_what_it_names_and_keeps_its_own_folder():
    quick = QuickOverrides(arguments={"outer_steps": 2}, milestones=(1,), seeds=3)
    tiny = dataclasses.replace(TINY, quick=quick).quick_version()
    assert {arm.arguments["outer_steps"] for arm in tiny.arms.values()} == {2}
    assert (tiny.name, tiny.milestones, tiny.seeds, tiny.threshold) == ("tiny-quick", (1,), 3, TINY.threshold)
    with pytest.raises(ValueError, match="study 'tiny' has no quick version"):
        TINY.quick_version()


# What is stopped goes on


def test_what_is_finished_is_not_run_again(whole):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*")}
    run_study(TINY, whole, workers=2, tensorboard=False, quiet=True)
    assert {file: file.stat().st_mtime_ns for file in whole.rglob("*")} == before


@pytest.mark.parametrize("name", ["badger.runs.checkpoint.replace"])
def test_a_run_killed_wherever_it_writes_is_evaluated_as_one_that_was_not(tmp_path, whole, name):
    for call in range(1, 40):
        process = start(perform_until, job(tmp_path, "long", 1), name, call)
        process.join()
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
    assert call > 5
    run = Path("long", "seed-1")
    assert json.loads((tmp_path / run / "result.json").read_text()) == json.loads(
        (whole / run / "result.json").read_text()
    )
    assert metrics(tmp_path / run) == metrics(whole / run)


def test_a_study_that_was_killed_ends_as_one_that_was_not_and_leaves_no_worker(tmp_path, whole):
    """With SIGKILL, at the command line, its recipe found from the current directory."""
    folder = tmp_path / "study"
    words = ["study", "tiny_runs:TINY", "--folder", folder, "--jobs", 1, "--no-tensorboard"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "badger", *map(str, words)]
    process = subprocess.Popen(command, cwd=ROOT / "tests", env=environment, stderr=subprocess.PIPE)
    wait_for(folder / "short" / "seed-0" / "metrics.jsonl")
    process.kill()
    process.communicate()  # until nobody holds its standard error any more: the worker, too, has ended
    assert not is_finished(job(folder, "long", 1))
    write_report(run_study(TINY, folder, workers=2, tensorboard=False, quiet=True), folder)
    assert_same(folder, whole)


@pytest.mark.timeout(45)
def test_a_worker_ends_with_its_parent_and_leaves_ctrl_c_to_it(tmp_path):
    file = tmp_path / "held"
    process = start(spread_hold, file)
    wait_for(file)
    assert file.read_text() == "True True"  # a process group of its own, and deaf until it trains
    with file.open() as held:
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        fcntl.flock(held, fcntl.LOCK_EX)  # at once, and not when the worker is done, a minute later
    process.join()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_every_run_and_tells_how_to_go_on(tmp_path, whole, monkeypatch, command, number):
    folder = tmp_path / "study"
    words = ["study", "tiny_runs:TINY", "--folder", folder, "--jobs", 1, "--no-tensorboard"]

    def press():
        wait_for(folder / "short" / "seed-0" / "metrics.jsonl")
        os.kill(os.getpid(), number)

    threading.Thread(target=press).start()
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it for what runs behind
    try:
        code, _, err = command(*words)
    finally:
        signal.signal(signal.SIGINT, before)
    assert code == 130
    assert re.search(
        rf"stopped, [0-3] of 4 runs are finished and the others saved in {folder}\. "
        rf"Go on with: badger study tiny_runs:TINY --folder {folder} --jobs 1 --no-tensorboard\n$",
        err,
    )
    assert load_trusted(folder / "short" / "seed-0").step > 0
    assert command(*words)[0] == 0
    assert_same(folder, whole)


def test_a_run_that_passed_a_milestone_without_an_evaluation_is_refused(tmp_path):
    train(made(tmp_path / "short" / "seed-0", outer_steps=6, seed=0), 5, tensorboard=False)
    with pytest.raises(ValueError, match="at outer step 5 and was not evaluated at 4: something else has trained it"):
        run_trial(job(tmp_path))


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"name": "other"}, "name"),
        ({"arms": {"short": Arm("tiny_runs:tiny", {"outer_steps": 7})}}, "arms"),
        ({"milestones": (2,)}, "milestones"),
        ({"episodes": 9}, "episodes"),
        ({"evaluations": {"longer": {"steps": 4}}}, "evaluations"),
    ],
)
def test_the_folder_of_another_study_is_refused(whole, changes, named):
    other = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=rf"holds study 'tiny' with {named}=.*, want {named}=.*; use another folder"):
        run_study(other, whole, quiet=True)


def test_another_threshold_and_fewer_seeds_are_asked_of_the_same_runs(whole):
    other = dataclasses.replace(TINY, threshold=100.0)
    found = run_study(other, whole, seeds=1, arms=["long"], quiet=True)
    assert [(o.arm, o.seed, o.threshold_reached[0]) for o in found.outcomes] == [("long", 0, 1)]


def test_a_folder_is_run_by_one_at_a_time(whole):
    with (
        _exclusive_lock(whole),
        pytest.raises(RuntimeError, match=f"another process runs the study in {whole}"),
    ):
        run_study(TINY, whole, quiet=True)


# What fails


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """What is told of a study of which three runs fail, each in its way."""
    folder = tmp_path_factory.mktemp("failed")
    arms = {
        "wrong": Arm("tiny_runs:tiny", {"no_such": 1}),
        "dying": Arm("tiny_runs:dying", {"outer_steps": 6}),
        "diverging": Arm("tiny_runs:poisoned", {"outer_steps": 6, "bad": 6}),
        "good": TINY.arms["short"],
    }
    own = dataclasses.replace(TINY, arms=arms, seeds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers.multiprocessing, "get_context", lambda method: processes)
        found = run_study(own, folder, tensorboard=False, quiet=True)
    return found, write_report(found, folder), folder


def test_one_that_fails_stops_no_other(failed, whole):
    found, _, folder = failed
    assert [o.arm for o in found.outcomes] == ["diverging", "good"]
    assert metrics(folder / "good" / "seed-0") == metrics(whole / "short" / "seed-0")


def test_the_report_names_what_failed_and_why(failed):
    _, text, _ = failed
    assert "## 3 of the runs did not end as they should" in text
    assert "- wrong seed 0: ValueError: recipe 'tiny_runs:tiny' has no argument ['no_such']; it has outer_steps" in text
    assert "- dying seed 0: Killed: its process ended with exit code -9" in text
    assert "- diverging seed 0: Diverged: outer step 6 is not finite" in text


def test_a_run_that_diverged_counts_and_one_that_was_lost_does_not(failed):
    counts = {row["arm"]: (row["runs"], row["diverged"]) for row in tables.summary(failed[0])}
    assert counts == {"wrong": (0, 0), "dying": (0, 0), "diverging": (1, 1), "good": (1, 0)}


def test_the_command_line_ends_with_1_where_a_run_failed(tmp_path, monkeypatch, command):
    (tmp_path / "my_study.py").write_text(
        "from badger import Arm, Study\n"
        "MINE = Study(name='mine', claim='', arms={'a': Arm('tiny_runs:tiny', {'no_such': 1})}, score='', threshold=1)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, err = command("study", "my_study:MINE", "--seeds", 1)
    assert code == 1 and "a seed 0: ValueError" in out
    assert "a seed 0 failed. ValueError: " in err and "(0 of 1 runs are finished)" in err
    assert (tmp_path / "runs" / "mine" / "report.md").exists()


# What is reported


def test_the_summary_of_an_arm_by_hand():
    runs = [outcome("a", 0, reached=4, final=0.2), outcome("a", 1, final=0.6), outcome("a", 2, reached=8, final=0.4)]
    (row,) = tables.summary(evidence(runs))
    assert (row["runs"], row["reached"], row["steps"], row["seconds_to_threshold"]) == (3, 2, 8, 4)
    assert (row["steps_low"], row["steps_high"], row["budget"]) == (4, math.inf, 10)
    assert (row["reached_low"], row["reached_high"]) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert (row["score"], row["score_se"]) == pytest.approx((0.4, 0.2 / math.sqrt(3)))
    assert row["iqm"] == pytest.approx((0.25 * 0.2 + 0.4 + 0.25 * 0.6) / 1.5)
    assert row["iqm_low"] == pytest.approx(0.2) and row["iqm_high"] == pytest.approx(0.6)  # 1 of 27 resamples each


@pytest.mark.parametrize("better, wanted", [("lower", 0.75), ("higher", 0.25)])
def test_improvement_is_in_the_tasks_direction_and_in_fewer_steps(better, wanted):
    one = [outcome("a", 0, reached=3, final=1.0), outcome("a", 1, final=3.0)]
    other = [outcome("b", 0, reached=5, final=2.0), outcome("b", 1, final=4.0)]
    (row,) = tables.improvements(evidence(one + other, better=better))
    assert (row["arm"], row["over"], row["score"]) == ("b", "a", 1 - wanted)
    assert row["steps"] == (0 + 0 + 1 + 0.5) / 4  # two that never got there are even


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_run_that_diverged_is_worse_than_any_and_has_no_score(better):
    runs = [outcome("a", 0, final=9.0), outcome("b", 0, final=5.0, diverged=True)]
    found = evidence(runs, better=better)
    assert tables.improvements(found)[0]["score"] == 0
    assert "score" not in tables.summary(found)[1]


def test_milestones_are_means_over_runs_of_each_evaluation():
    scores = [
        {5: {"x": {"error": {"mean": 2.0 * i, "error": 0.0}}, "y": {"error": {"mean": None, "error": None}}}}
        for i in (1, 2)
    ]
    rows = tables.milestone_rows(evidence([outcome("a", i, scores=scores[i]) for i in (0, 1)]))
    assert [(row["evaluation"], row["step"], row["runs"]) for row in rows] == [("x", 5, 2), ("y", 5, 0)]
    assert (rows[0]["score"], rows[0]["score_se"]) == pytest.approx((3, 1))


def test_the_report_tells_of_what_was_not_reached_and_of_nothing_where_nothing_is(tmp_path):
    runs = [outcome("a", 0), outcome("a", 1, reached=7)]
    text = write_report(evidence(runs, arms=["a", "empty"]), tmp_path)
    assert "| a | 2 | 1 of 2 (0.0945 to 0.905) | > 10 (7 to > 10) | 0 +- 0 | 0 (0 to 0) |" in text
    assert "| empty | 0 | - | - | - | - |" in text
    assert "No run of empty has ended." in text and "this shows that it works" not in text
    assert text == (tmp_path / "report.md").read_text()


def test_the_report_of_a_study(whole):
    text = (whole / "report.md").read_text()
    assert text.startswith("# tiny\n\nA longer run goes on for longer.\n")
    told = json.loads((whole / "long" / "seed-0" / "result.json").read_text())["scores"]
    means = [json.loads((whole / "long" / f"seed-{s}" / "result.json").read_text())["scores"] for s in (0, 1)]
    mean = np.mean([each["12"][""]["final_error"]["mean"] for each in means])
    assert list(told) == ["4", "12"] and f"| {mean:.4g} +- " in text
    assert "| arm | after 4 | after 6 | after 12 |" in text and "long over short" in text
    for picture in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (whole / picture).read_bytes().startswith(b"\x89PNG")
    assert text.count("![") == 2


def test_curves_are_medians_with_the_middle_half_up_to_where_the_first_run_ended():
    runs = [outcome("a", i, curve=([1, 2, 3], [i, 10.0 * i, 0.0])) for i in range(1, 5)]
    runs += [outcome("a", 5, curve=([1, 2], [5.0, 50.0])), outcome("a", 6, curve=([1], [99.0]), diverged=True)]
    axes = pictures.plot_results(evidence(runs))["learning_curves"].axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 3], [2, 30]]
    edge = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in edge.tolist()} == {(1, 2), (2, 20), (2, 40), (1, 4)}


def test_profiles_are_the_fractions_of_runs_with_a_run_that_diverged_below_none():
    runs = [outcome("a", 0, final=1.0), outcome("a", 1, final=4.0), outcome("b", 0, final=2.0, diverged=True)]
    lines = pictures.plot_results(evidence(runs))["performance_profiles"].axes[0].lines
    assert dict(lines[0].get_xydata().tolist())[1] == 0.5 and dict(lines[0].get_xydata().tolist())[4] == 1
    assert set(lines[1].get_ydata()) == {0}


def test_there_is_no_profile_where_all_runs_ended_at_the_same_score():
    assert list(pictures.plot_results(evidence([outcome("a", 0), outcome("a", 1)]))) == ["learning_curves"]


def test_the_steps_to_the_threshold_are_those_of_the_moving_average(whole):
    for row in read_csv(whole, "runs"):
        values = read_metrics(whole / row["arm"] / f"seed-{row['seed']}")
        below = [value["step"] for value in values if value["final_error_ema"] < TINY.threshold]
        assert row["steps_to_threshold"] == (str(below[0]) if below else "")
    assert {row["steps_to_threshold"] == "" for row in read_csv(whole, "runs")} == {True, False}


def test_seconds_to_the_threshold_are_those_of_training_then(whole):
    found = run_study(dataclasses.replace(TINY, threshold=100.0), whole, quiet=True)
    for each in found.outcomes:
        rows = read_metrics(whole / each.arm / f"seed-{each.seed}")
        assert each.threshold_reached == (1, rows[0]["seconds"]) and each.seconds == rows[-1]["seconds"]


def test_runs_csv_has_a_row_for_each_run_milestone_and_evaluation(whole):
    rows = read_csv(whole, "runs")
    assert [(row["arm"], row["seed"], row["step"]) for row in rows] == [
        (arm, seed, step)
        for arm, last in (("short", "6"), ("long", "12"))
        for seed in "01"
        for step in ("4", last)
    ]  # fmt: skip


# Any runs


def test_compare_makes_arms_of_runs_that_differ_in_their_seed_only(whole, tmp_path, command):
    folders = sorted(whole.glob("*/seed-*"))
    code, out, _ = command("compare", *folders, "--trust-code", "--threshold", 1.5, "--folder", tmp_path)
    assert code == 0
    wanted, got = (f.read_text().split("![")[0] for f in (whole / "report.md", tmp_path / "report.md"))
    for line in [line for line in wanted.splitlines() if line.startswith(("| short |", "| long |"))]:
        arm = {"short": "outer_steps=6", "long": "outer_steps=12"}[line.split()[1]]
        assert line.replace(f"| {line.split()[1]} |", f"| {arm} |") in got
    assert (tmp_path / "report.md").read_text() in out


def test_compare_evaluates_runs_of_no_study_as_they_are(tmp_path, command):
    for seed in (3, 4):
        train(made(tmp_path / str(seed), seed=seed), 5, tensorboard=False)
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    code, out, _ = command(
        "compare", tmp_path / "3", tmp_path / "4", "--trust-code", "--episodes", 8, "--folder", tmp_path / "out"
    )
    assert code == 0 and "| arm | runs | final_error | interquartile mean |" in out
    assert f"- {tmp_path / '3'}: is at outer step 5 of 30, and counts as it is" in out
    runs = [load_trusted(tmp_path / seed) for seed in "34"]
    means = [evaluate_trial(r.learner, r.learner.task, 8, 5, r.device)["final_error"]["mean"] for r in runs]
    assert f"| tiny_runs:tiny | 2 | {np.mean(means):.4g} +- " in out
    assert {file: file.stat().st_mtime_ns for file in before if file != tmp_path} == {
        file: time for file, time in before.items() if file != tmp_path
    }


def test_compare_counts_the_members_of_a_population(tmp_path):
    train(made(tmp_path, outer_steps=4, seed=5, seeds=3), tensorboard=False)
    found = compare.compare_runs([tmp_path], threshold=100.0, episodes=4, trusted=["tiny_runs"])
    assert [(o.seed, o.threshold_reached[0], list(o.scores)) for o in found.outcomes] == [
        (s, 1, [4]) for s in (5, 6, 7)
    ]
    assert len({tuple(o.curve[1]) for o in found.outcomes}) == 3


def test_compare_refuses_the_same_run_twice_and_runs_of_different_scores(whole, tmp_path, command):
    one = whole / "short" / "seed-0"
    train(made(tmp_path / "again", outer_steps=6, seed=0), tensorboard=False)
    code, _, err = command("compare", one, tmp_path / "again", "--trust-code")
    assert code == 1 and "two runs of tiny_runs:tiny with seed 0: one run counted twice is no evidence" in err
    other = build_run("repeat_previous", experts=2, hidden_size=4, outer_steps=1, device="cpu")
    other.folder = tmp_path / "other"
    other.save()
    code, _, err = command("compare", one, other.folder, "--trust-code")
    assert code == 1 and f"{other.folder} is judged by accuracy, want final_error, as of the first run" in err


# The command line


def test_study_without_a_name_and_list_tell_which_there_are(command):
    code, out, err = command("study")
    assert (code, out) == (2, "") and "usage: badger study NAME" in err and "memory-helps" in err
    assert all(name in command("list")[1] for name in STUDIES)


@pytest.mark.parametrize(
    "name, message",
    [
        ("memory-help", "unknown study 'memory-help', want one of: .*Did you mean 'memory-helps'?"),
        ("tiny_runs:TINI", "module tiny_runs has no study TINI; did you mean 'TINY'?"),
        ("no_such_module:X", "No module named 'no_such_module'; run badger where `import no_such_module` works"),
    ],
)
def test_a_study_that_there_is_not_is_met_with_those_that_there_are(name, message):
    with pytest.raises(ValueError, match=message):
        find_study(name)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--arms", "shrt"], "unknown arm 'shrt', want one of: short, long"),
        (["--seeds", "0"], "seeds=0, want at least 1"),
        (["--quick"], "study 'tiny' has no quick version"),
    ],
)
def test_flags_that_make_no_sense_are_explained(tmp_path, command, words, message):
    code, _, err = command("study", "tiny_runs:TINY", "--folder", tmp_path / "study", *words)
    assert code == 1 and message in err and not (tmp_path / "study").exists()


def test_help_tells_of_the_seeds(command):
    shown = command("study", "--help")[1]
    assert "Explore with seeds from 100 on" in " ".join(re.sub(r"\x1b\[[\d;]*m|[│╭╮╰╯─]", " ", shown).split())


# TensorBoard


def hparams(folder):
    """The hyperparameters, and the names of the metrics, as TensorBoard's plugin reads them."""
    from tensorboard.plugins.hparams import metadata

    from tiny_runs import events

    contents = events(folder).PluginTagToContent("hparams")
    session = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    experiment = metadata.parse_experiment_plugin_data(contents[metadata.EXPERIMENT_TAG])
    given = {name: getattr(value, value.WhichOneof("kind")) for name, value in session.hparams.items()}
    return given, [info.name.tag for info in experiment.metric_infos]


def test_a_finished_run_has_its_arguments_and_final_score_in_the_hparams_tab(tmp_path):
    run_trial(job(tmp_path, tensorboard=True))
    folder = tmp_path / "short" / "seed-0"
    given, names = hparams(folder)
    assert given == {"recipe": "tiny_runs:tiny", "outer_steps": 6, "seed": 0, "seeds": 1}  # with the defaults
    told, found = json.loads((folder / "result.json").read_text())["scores"], scalars(folder)
    wanted = [(step, pytest.approx(told[str(step)][""]["final_error"]["mean"])) for step in (4, 6)]
    assert names == ["final_error/ema", "final_error/evaluated"]
    assert found["final_error/evaluated"] == wanted and found["final_error/ema"]
    assert sorted(each.name for each in folder.iterdir() if each.is_dir()) == ["00006", "checkpoints"]  # 00006: points


def test_an_unfinished_run_is_not_in_the_hparams_tab(tmp_path):
    train(made(tmp_path / "run"), 5)
    with pytest.raises(KeyError):
        hparams(tmp_path / "run")


def test_what_there_is_to_tell_of_the_episodes_is_in_the_report(tmp_path):
    tasks = {"max_words": 15, "batch": 4, "outer_steps": 1, "core.hidden_size": 4, "core": "lstm"}
    own = Study(
        name="stories", claim="", arms={"only": Arm("babi", tasks)}, score="error", threshold=None, episodes=None,
        evaluations={"test": {"split": "test"}}, seeds=1,
    )  # fmt: skip
    one = job(tmp_path, "only", of=own)
    with pytest.warns(UserWarning, match="are left out"):
        run_trial(one)
    task = load_trusted(one.folder).learner.task
    (train,), (test,) = task.notes, dataclasses.replace(task, split="test").notes
    assert "questions of split='train' have more than steps=15 words" in train and "split='test'" in test
    assert f"- {train}\n- {test}\n" in write_report(collect_results([one], {}), tmp_path / "report")


def test_of_single_runs_no_probability_is_told():
    runs = [outcome("a", 0, final=1.0), outcome("b", 0, final=2.0)]
    assert "P(improvement)" not in report_markdown(evidence(runs))
    assert "P(improvement)" in report_markdown(
        evidence([*runs, outcome("a", 1, final=1.5), outcome("b", 1, final=2.5)])
    )
