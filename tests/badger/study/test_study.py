"""Studies: runs, files and reports, and that stopping and resuming changes none of them."""

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
from badger import CORES, STUDIES, build_run, evaluate, generator, read_metrics, train
from badger.cli.main import main
from badger.errors import RunLocked
from badger.runs.evaluations import read_evaluation
from badger.runs.lock import write_lock
from badger.study import Arm, QuickOverrides, Study, compare, find_study, plots, tables
from badger.study.report import report_markdown, write_report
from badger.study.results import StudyResults, TrialResult, collect_results, make_trial_result
from badger.study.run import check_study, run_study, write_definition
from badger.study.trial import Trial, evaluate_trial, is_finished, read_result, run_trial
from forked_children import patch_children
from tiny_runs import (
    TINY,
    load_trusted,
    made,
    metrics,
    perform_until,
    processes,
    scalars,
    spread_hold,
    spread_save,
    start,
)
from toys import OF_MODELS

ROOT = Path(__file__).resolve().parents[3]


def make_tiny(patch):
    """Workers are forked from a server that has imported everything, and averages count from the first step on."""
    patch_children(patch, processes)
    patch.setattr("badger.runs.milestones.MIN_AVERAGED_STEPS", 1)


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    make_tiny(monkeypatch)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The folder of the tiny study, run without interruption."""
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


def without_times(content):
    """The content of a JSON file of a study without the times in results.json."""
    for run in content.get("runs", []):
        del run["seconds"]
        run["threshold_reached"] = run["threshold_reached"] and run["threshold_reached"][0]
    return content


def assert_same(folder, whole):
    """Checks that two folders are equal except for times."""
    for file in sorted(file.relative_to(whole) for file in whole.rglob("[a-z]*.json") if file.name != "run.json"):
        first, second = (without_times(json.loads((f / file).read_text())) for f in (folder, whole))
        assert first == second, file
    for run in sorted(file.parent.relative_to(whole) for file in whole.rglob("run.json")):
        assert metrics(folder / run) == metrics(whole / run)
    for name in ("runs", "summary"):
        assert read_csv(folder, name) == read_csv(whole, name)
    first, second = ((f / "report.md").read_text().split("## Time")[0] for f in (folder, whole))
    assert first == second
    for image in whole.glob("*.png"):
        assert (folder / image.name).read_bytes() == image.read_bytes()


def wait_for(file):
    end = time.monotonic() + 100
    while not (file.exists() and file.stat().st_size):
        assert time.monotonic() < end, f"nothing in {file}"
        time.sleep(0.01)


def job(folder, arm="short", seed=0, of=TINY, tensorboard=False):
    return Trial(of, arm, seed, folder, tensorboard)


def outcome(arm, seed, *, reached=None, final=0.0, **fields):
    scores = {10: {"": {"error": {"mean": final, "sem": 0.1}}}}
    defaults = {"steps": 10, "budget": 10, "seconds": 5.0, "curve": ([1, 10], [1.0, 0.5]), "scores": scores}
    threshold_reached = None if reached is None else (reached, reached / 2)
    return TrialResult(arm=arm, seed=seed, threshold_reached=threshold_reached, **(defaults | fields))


def study_results(outcomes, **fields):
    defaults = {"name": "made-up", "claim": "", "arms": list(dict.fromkeys(o.arm for o in outcomes)), "score": "error"}
    defaults |= {"better": "lower", "threshold": 0.1, "references": {}, "outcomes": outcomes}
    return StudyResults(**(defaults | fields))


def test_gates_are_compared_with_the_median_and_arms_with_them_not_with_each_other():
    finals = {"low": (0.1, 0.2, 9.0), "high": (0.1, 3.0, 3.0), "diverged": (0.1, math.nan, math.nan)}
    outcomes = [outcome(arm, seed, final=value) for arm, values in finals.items() for seed, value in enumerate(values)]
    results = study_results(outcomes, gates=dict.fromkeys(finals, 0.5), threshold=None)
    found = {row["arm"]: (row["median"], row["met"]) for row in tables.summary(results)}
    assert found == {"low": (0.2, True), "high": (3.0, False), "diverged": (math.inf, False)}
    report = report_markdown(results)
    assert "<= 0.5: met" in report and "<= 0.5: missed" in report and "P(improvement)" not in report


def test_lower_is_better_in_one_arm_and_higher_in_another():
    finals = {"share": (0.9, 0.8, 0.1), "distance": (0.2, 0.3, 9.0)}
    outcomes = [outcome(arm, seed, final=value) for arm, values in finals.items() for seed, value in enumerate(values)]
    gates, better_in = {"share": 0.7, "distance": 0.25}, {"share": "higher", "distance": "lower"}
    results = study_results(outcomes, gates=gates, threshold=None, better="higher", better_in=better_in)
    found = {row["arm"]: (row["median"], row["met"]) for row in tables.summary(results)}
    assert found == {"share": (0.8, True), "distance": (0.3, False)}
    report = report_markdown(results)
    assert ">= 0.7: met" in report and "<= 0.25: missed" in report
    assert "error (higher is better, but lower in distance)" in report
    assert set(plots._profiles(results)) == {"share"}


def test_arms_with_few_runs_are_named_a_smoke_test():
    outcomes = [outcome("many", seed) for seed in range(5)] + [outcome("few", 0)]
    assert "1 to 5 runs per arm: treat arms with fewer than 5" in report_markdown(study_results(outcomes))
    assert ". 1 runs per arm: treat this" in report_markdown(study_results(outcomes[-1:]))


@pytest.mark.parametrize(
    ("arm", "error"),
    [
        ({"score": "return"}, "says by better=, whether lower or higher is better"),
        ({"score": "none", "better": "lower"}, "score='none', want one of error, final_error"),
    ],
)
def test_a_score_that_is_not_the_main_one_of_the_task_is_checked_before_training(arm, error, tmp_path):
    own = dataclasses.replace(TINY, arms={"short": dataclasses.replace(TINY.arms["short"], **arm)})
    with pytest.raises(ValueError, match=error):
        run_trial(job(tmp_path, of=own))
    assert not (tmp_path / "short").exists()


def test_the_score_of_an_arm_may_be_the_mean_of_a_metric_since_the_milestone_before(tmp_path):
    arm = dataclasses.replace(TINY.arms["short"], metric="loss", better="lower")
    own = dataclasses.replace(TINY, arms={"short": arm}, score="mean loss")
    run_trial(job(tmp_path, of=own))
    rows, scores = read_metrics(tmp_path / "short" / "seed-0"), read_result(tmp_path / "short" / "seed-0")["scores"]
    for step, since in {"4": rows[:4], "6": rows[4:]}.items():
        mean = sum(row["loss"] for row in since) / len(since)
        assert scores[step][""]["mean loss"]["mean"] == pytest.approx(mean) and "final_error" in scores[step][""]
    note = "mean loss: mean of loss in training since the milestone before"
    assert note in read_result(tmp_path / "short" / "seed-0")["notes"]
    unknown = dataclasses.replace(own, arms={"short": dataclasses.replace(arm, metric="none")})
    with pytest.raises(ValueError, match="metric='none', want one that is logged: step, loss"):
        run_trial(job(tmp_path / "other", of=unknown))
    with pytest.raises(ValueError, match="metric='loss' without better=, want 'lower' or 'higher'"):
        dataclasses.replace(arm, better=None)


def test_an_arm_may_have_other_evaluation_episodes_and_another_score_of_its_task(tmp_path):
    arms = {"short": dataclasses.replace(TINY.arms["short"], score="error", better="lower", episodes=3)}
    run_trial(job(tmp_path, of=dataclasses.replace(TINY, arms=arms, milestones=())))
    result = json.loads((tmp_path / "short" / "seed-0" / "result.json").read_text())
    scores = result["scores"]["6"][""]
    assert result["episodes"] == 3 and result["better"] == "lower" and scores["final_error"] == scores["error"]


def test_the_curve_of_a_study_may_be_a_logged_metric():
    evaluated = {2: 0.5, 4: 0.05, 6: 0.5}
    rows = [{"step": step, "seconds": 2.0 * step, "error_ema": 0.0} for step in range(1, 7)]
    rows = [row | ({"eval/error": evaluated[row["step"]]} if row["step"] in evaluated else {}) for row in rows]
    fields = {"arm": "a", "seed": 0, "budget": 6, "scores": {}}
    found = make_trial_result(rows, "error", "lower", 0.1, curve="eval/error", **fields)
    assert found.threshold_reached == (4, 8.0) and found.curve == ([2, 4, 6], [0.5, 0.05, 0.5])
    report = report_markdown(study_results([found], curve="eval/error"))
    assert "whose eval/error crossed" in report and "moving average" not in report


def test_a_gate_of_no_arm_is_refused():
    with pytest.raises(ValueError, match="a gate of 'none', want one of its arms: "):
        dataclasses.replace(TINY, gates={"none": 1.0})


# Runs


def test_every_arm_is_trained_in_every_seed_by_its_recipe(whole):
    for arm, seed in [("short", 0), ("short", 1), ("long", 0), ("long", 1)]:
        run = load_trusted(whole / arm / f"seed-{seed}")
        steps = TINY.arms[arm].arguments["outer_steps"]
        assert (run.step, run.recipe) == (steps, "tiny_runs:tiny")
        assert run.arguments == {"outer_steps": steps, "seed": seed}


def test_a_run_of_a_study_equals_a_run_trained_alone(whole, tmp_path):
    train(made(tmp_path / "run", outer_steps=6, seed=1), tensorboard=False)
    assert metrics(whole / "short" / "seed-1") == metrics(tmp_path / "run")


def test_a_milestones_score_is_that_of_the_agent_at_that_step(whole):
    run = build_run("tiny_runs:tiny", outer_steps=12, seed=1)
    for step in (4, 12):
        train(run, step - run.step)
        values = evaluate(run.learner.agent, run.learner.task, 8, generator(1, "study-evaluation", step))
        scores = json.loads((whole / "long" / "seed-1" / "result.json").read_text())["scores"][str(step)][""]
        assert scores["final_error"]["mean"] == values["final_error"].double().mean().item()
        assert scores["final_error"]["sem"] == pytest.approx(values["final_error"].double().std().item() / math.sqrt(8))


def test_evaluation_episodes_are_not_used_in_training(tmp_path, monkeypatch):
    seeds, real = [], np.random.SeedSequence
    monkeypatch.setattr(badger.rng.np.random, "SeedSequence", lambda words: seeds.append(tuple(words)) or real(words))
    run = made(tmp_path / "run", outer_steps=6)
    train(run)
    trained, _ = set(seeds), seeds.clear()
    evaluate_trial(run.learner, run.learner.task, 8, 6, run.device)
    assert seeds and trained and not trained & set(seeds)


def test_evaluations_play_the_task_with_their_fields(tmp_path):
    own = dataclasses.replace(TINY, milestones=(), evaluations={"as trained": {}, "longer": {"steps": 5}})
    run_trial(job(tmp_path, of=own))
    scores = json.loads((tmp_path / "short" / "seed-0" / "result.json").read_text())["scores"]["6"]
    run = load_trusted(tmp_path / "short" / "seed-0")
    for name, steps in {"as trained": 3, "longer": 5}.items():
        task = dataclasses.replace(run.learner.task, steps=steps)
        values = evaluate(run.learner.agent, task, 8, generator(0, "study-evaluation", 6))
        assert scores[name]["final_error"]["mean"] == values["final_error"].double().mean().item()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"score": "return"}, "score='return', want 'final_error', the score of GuessingGame"),
        ({"milestones": (7,)}, "milestone 7, but runs end after 6 outer steps"),
        (
            {"evaluations": {"test": {"split": 1}}},
            "evaluation 'test': GuessingGame has no split to change; it has steps, ",
        ),
    ],
)
def test_a_study_that_does_not_match_its_task_is_refused_before_training(tmp_path, changes, message):
    own = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=message):
        run_trial(job(tmp_path, of=own))
    assert not (tmp_path / "short").exists()


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"arms": {}}, "needs at least one arm"),
        ({"milestones": (0,)}, r"milestones=\(0,\), want outer steps >= 1"),
        ({"arms": {"a/b": Arm("tiny_runs:tiny")}}, "'a/b' cannot be the name of a folder"),
        ({"arms": {"a": Arm("tiny_runs:tiny", {"seed": 3})}}, "arm 'a' sets its seed"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(TINY, **changes)


@pytest.mark.parametrize("name", STUDIES)
def test_a_registered_study_and_its_quick_version_fit_their_recipes(name):
    assert STUDIES[name].name == name
    for study in (STUDIES[name], STUDIES[name].quick_version()):
        for arm in study.arms.values():
            module, separator, _ = re.split(r"([.:])|$", arm.arguments.get("env", ""), maxsplit=1)
            pytest.importorskip(module if separator else "badger")
            run = build_run(arm.recipe, **arm.arguments, seed=0, device="cpu")
            assert arm.better is not None or run.learner.task.score == (arm.score or study.score)
            assert max(study.milestones, default=1) <= run.outer_steps


@pytest.mark.parametrize("name", ["working-memory-recall", "working-memory-t-maze"])
def test_every_memory_is_compared_with_fewer_than_50_000_parameters(name):
    arms = STUDIES[name].arms
    assert set(CORES) - set(arms) <= {"linear", "episodic_shared"} | set(OF_MODELS) | {"neural_map"}
    for arm in arms.values():
        agent = build_run(arm.recipe, **arm.arguments, seed=0, device="cpu").learner.agent
        assert sum(weight.numel() for weight in agent.parameters()) < 50_000, arm


def test_the_quick_version_changes_what_it_names_and_keeps_its_own_folder():
    quick = QuickOverrides(arguments={"outer_steps": 2}, milestones=(1,), seeds=3)
    tiny = dataclasses.replace(TINY, quick=quick).quick_version()
    assert {arm.arguments["outer_steps"] for arm in tiny.arms.values()} == {2}
    assert (tiny.name, tiny.milestones, tiny.seeds, tiny.threshold) == ("tiny-quick", (1,), 3, TINY.threshold)
    with pytest.raises(ValueError, match="study 'tiny' has no quick version"):
        TINY.quick_version()


# Stopping and resuming


def test_finished_runs_are_not_run_again(whole):
    before = {file: file.stat().st_mtime_ns for file in whole.rglob("*.*") if file.name[0] != "."}
    run_study(TINY, whole, workers=2, tensorboard=False, quiet=True)
    assert {file: file.stat().st_mtime_ns for file in before} == before


def test_a_run_killed_at_any_write_ends_with_the_same_result(tmp_path, whole):
    for call in range(1, 60):
        process = start(perform_until, job(tmp_path, "long", 1), "os.replace", call)
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


def test_a_killed_study_leaves_no_worker_and_ends_with_the_same_results(tmp_path, whole):
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
def test_a_job_exits_with_its_parent_and_gets_no_ctrl_c(tmp_path):
    file = tmp_path / "held"
    process = start(spread_hold, file)
    wait_for(file)
    assert file.read_text() == "True"  # a session of its own
    with file.open() as held:
        with pytest.raises(BlockingIOError):
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        process.kill()
        fcntl.flock(held, fcntl.LOCK_EX)  # at once, not when the worker has finished a minute later
    process.join()


@pytest.mark.parametrize(
    ("number", "to_worker", "times"),
    [
        (signal.SIGTERM, False, 1),
        (signal.SIGTERM, True, 1),  # a scheduler sends it to all processes
        (signal.SIGHUP, True, 2),  # a terminal, and the shell that ran in it
        (signal.SIGUSR1, True, 1),
    ],
)
def test_a_signal_to_the_parent_or_to_all_processes_saves(tmp_path, number, to_worker, times):
    file = tmp_path / "worker"
    parent = start(spread_save, file)
    wait_for(file)
    worker = int(file.read_text())
    for _ in range(times):
        if to_worker:
            os.kill(worker, number)
        os.kill(parent.pid, number)
        time.sleep(0.1)
    parent.join()
    assert parent.exitcode == number and file.read_text() == "saved"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_saves_every_run_and_prints_the_command_that_resumes(tmp_path, whole, monkeypatch, command, number):
    folder = tmp_path / "study"
    words = ["study", "tiny_runs:TINY", "--folder", folder, "--jobs", 1, "--no-tensorboard"]

    def press():
        wait_for(folder / "short" / "seed-0" / "metrics.jsonl")
        os.kill(os.getpid(), number)

    threading.Thread(target=press).start()
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in background jobs of a shell
    try:
        code, _, err = command(*words)
    finally:
        signal.signal(signal.SIGINT, previous)
    assert code == 128 + number
    assert re.search(
        rf"stopped; [0-3] of 4 runs are finished, the others are saved in {folder}\. "
        rf"Resume with: badger study tiny_runs:TINY --folder {folder} --jobs 1 --no-tensorboard\n$",
        err,
    )
    assert load_trusted(folder / "short" / "seed-0").step > 0
    assert command(*words)[0] == 0
    assert_same(folder, whole)


def test_a_run_that_passed_a_milestone_without_an_evaluation_is_refused(tmp_path):
    train(made(tmp_path / "short" / "seed-0", outer_steps=6, seed=0), 5, tensorboard=False)
    with pytest.raises(
        ValueError, match="at outer step 5 and has no evaluation at 4: it was trained by another command"
    ):
        run_trial(job(tmp_path))


@pytest.mark.parametrize(
    "changes, named",
    [
        ({"name": "other"}, "name"),
        ({"arms": {"short": Arm("tiny_runs:tiny", {"outer_steps": 7})}}, "arms.short"),
        ({"milestones": (2,)}, "milestones"),
        ({"episodes": 9}, "episodes"),
        ({"evaluations": {"longer": {"steps": 4}}}, "evaluations"),
    ],
)
def test_the_folder_of_another_study_is_refused(whole, changes, named):
    other = dataclasses.replace(TINY, **changes)
    with pytest.raises(ValueError, match=rf"holds study 'tiny' with {named}=.*, want {named}=.*; use another --folder"):
        run_study(other, whole, quiet=True)


def test_an_arm_that_is_new_in_a_study_is_added_to_its_folder(tmp_path):
    first = dataclasses.replace(TINY, arms={"short": TINY.arms["short"]})
    write_definition(first, tmp_path)
    check_study(TINY, tmp_path)
    write_definition(TINY, tmp_path)
    check_study(first, tmp_path)
    write_definition(first, tmp_path)
    assert json.loads((tmp_path / "study.json").read_text()) == TINY.definition()


def test_another_threshold_and_fewer_seeds_use_the_same_runs(whole):
    other = dataclasses.replace(TINY, threshold=100.0)
    results = run_study(other, whole, seeds=1, arms=["long"], quiet=True)
    assert [(o.arm, o.seed, o.threshold_reached[0]) for o in results.outcomes] == [("long", 0, 1)]


def test_a_folder_is_locked_while_its_study_runs(whole):
    with (
        write_lock(whole),
        pytest.raises(RunLocked, match=f"{whole} is in use: process {os.getpid()} on"),
    ):
        run_study(TINY, whole, quiet=True)


# Failures


@pytest.fixture(scope="module")
def failed(tmp_path_factory):
    """Results, report and folder of a study with three kinds of failures."""
    folder = tmp_path_factory.mktemp("failed")
    arms = {
        "wrong": Arm("tiny_runs:tiny", {"no_such": 1}),
        "dying": Arm("tiny_runs:dying", {"outer_steps": 6}),
        "diverging": Arm("tiny_runs:poisoned", {"outer_steps": 6, "bad": 6}),
        "good": TINY.arms["short"],
    }
    own = dataclasses.replace(TINY, arms=arms, seeds=1)
    with pytest.MonkeyPatch.context() as patch:
        patch_children(patch, processes)
        found = run_study(own, folder, tensorboard=False, quiet=True)
    return found, write_report(found, folder), folder


def test_a_failed_run_stops_no_other(failed, whole):
    found, _, folder = failed
    assert [o.arm for o in found.outcomes] == ["diverging", "good"]
    assert metrics(folder / "good" / "seed-0") == metrics(whole / "short" / "seed-0")


def test_the_report_lists_failed_runs_with_the_error(failed):
    _, text, _ = failed
    assert "## Failed runs: 3" in text
    assert "- wrong seed 0: ValueError: recipe 'tiny_runs:tiny' has no argument 'no_such'; it has outer_steps" in text
    assert "- dying seed 0: Killed: its process ended with exit code -9" in text
    assert "- diverging seed 0: Diverged: outer step 6 is not finite" in text


def test_diverged_runs_count_and_killed_runs_do_not(failed):
    counts = {row["arm"]: (row["runs"], row["diverged"]) for row in tables.summary(failed[0])}
    assert counts == {"wrong": (0, 0), "dying": (0, 0), "diverging": (1, 1), "good": (1, 0)}


def test_the_command_line_ends_with_1_where_a_run_failed(tmp_path, monkeypatch, command):
    (tmp_path / "my_study.py").write_text(
        "from badger.study import Arm, Study\n"
        "MINE = Study(name='mine', claim='', arms={'a': Arm('tiny_runs:tiny', {'no_such': 1})}, score='', threshold=1)"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    code, out, err = command("study", "my_study:MINE", "--seeds", 1)
    assert code == 1 and "a seed 0: ValueError" in out
    assert "a seed 0 failed. ValueError: " in err and "(0 of 1 runs are finished)" in err
    assert (tmp_path / "runs" / "mine" / "report.md").exists()


# Reports


def test_the_summary_of_an_arm_by_hand():
    runs = [outcome("a", 0, reached=4, final=0.2), outcome("a", 1, final=0.6), outcome("a", 2, reached=8, final=0.4)]
    (row,) = tables.summary(study_results(runs))
    assert (row["runs"], row["reached"], row["steps"], row["seconds_to_threshold"]) == (3, 2, 8, 4)
    assert (row["steps_low"], row["steps_high"], row["budget"]) == (4, math.inf, 10)
    assert (row["reached_low"], row["reached_high"]) == pytest.approx((0.2077, 0.9385), abs=1e-4)
    assert (row["score"], row["score_sem"]) == pytest.approx((0.4, 0.2 / math.sqrt(3)))
    assert row["iqm"] == pytest.approx((0.25 * 0.2 + 0.4 + 0.25 * 0.6) / 1.5)
    assert row["iqm_low"] == pytest.approx(0.2) and row["iqm_high"] == pytest.approx(0.6)  # 1 of 27 resamples each


@pytest.mark.parametrize("better, expected", [("lower", 0.75), ("higher", 0.25)])
def test_improvement_is_in_the_tasks_direction_and_in_fewer_steps(better, expected):
    one = [outcome("a", 0, reached=3, final=1.0), outcome("a", 1, final=3.0)]
    other = [outcome("b", 0, reached=5, final=2.0), outcome("b", 1, final=4.0)]
    (row,) = tables.improvements(study_results(one + other, better=better))
    assert (row["arm"], row["over"], row["score"]) == ("b", "a", 1 - expected)
    assert row["steps"] == (0 + 0 + 1 + 0.5) / 4  # two censored runs tie


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_run_that_diverged_is_worse_than_any_and_has_no_score(better):
    runs = [outcome("a", 0, final=9.0), outcome("b", 0, final=5.0, diverged=True)]
    found = study_results(runs, better=better)
    assert tables.improvements(found)[0]["score"] == 0
    assert "score" not in tables.summary(found)[1]


def test_milestones_are_means_over_runs_of_each_evaluation():
    scores = [
        {5: {"x": {"error": {"mean": 2.0 * i, "sem": 0.0}}, "y": {"error": {"mean": None, "sem": None}}}}
        for i in (1, 2)
    ]
    rows = tables.milestone_rows(study_results([outcome("a", i, scores=scores[i]) for i in (0, 1)]))
    assert [(row["evaluation"], row["step"], row["runs"]) for row in rows] == [("x", 5, 2), ("y", 5, 0)]
    assert (rows[0]["score"], rows[0]["score_sem"]) == pytest.approx((3, 1))


def test_the_report_shows_censored_steps_and_arms_without_runs(tmp_path):
    runs = [outcome("a", 0), outcome("a", 1, reached=7)]
    text = write_report(study_results(runs, arms=["a", "empty"]), tmp_path)
    assert "| a | 2 | 1 of 2 (0.0945 to 0.905) | > 10 (7 to > 10) | 0 +- 0 | 0 (0 to 0) |" in text
    assert "| empty | 0 | - | - | - | - |" in text
    assert "No run of empty has finished." in text and "smoke test" not in text
    assert text == (tmp_path / "report.md").read_text()


def test_the_report_of_a_study(whole):
    text = (whole / "report.md").read_text()
    assert text.startswith("# tiny\n\nA longer run goes on for longer.\n")
    scores = json.loads((whole / "long" / "seed-0" / "result.json").read_text())["scores"]
    means = [json.loads((whole / "long" / f"seed-{s}" / "result.json").read_text())["scores"] for s in (0, 1)]
    mean = np.mean([run["12"][""]["final_error"]["mean"] for run in means])
    assert list(scores) == ["4", "12"] and f"| {mean:.4g} +- " in text
    assert "| arm | after 4 | after 6 | after 12 |" in text and "long over short" in text
    for image in re.findall(r"!\[.*\]\((.*)\)", text):
        assert (whole / image).read_bytes().startswith(b"\x89PNG")
    assert text.count("![") == 2


def test_curves_are_medians_with_the_middle_half_up_to_where_the_first_run_ended():
    runs = [outcome("a", i, curve=([1, 2, 3], [i, 10.0 * i, 0.0])) for i in range(1, 5)]
    runs += [outcome("a", 5, curve=([1, 2], [5.0, 50.0])), outcome("a", 6, curve=([1], [99.0]), diverged=True)]
    axes = plots.plot_results(study_results(runs))["learning_curves"].axes[0]
    assert axes.lines[0].get_xydata().tolist() == [[1, 3], [2, 30]]
    edge = axes.collections[0].get_paths()[0].vertices
    assert {tuple(point) for point in edge.tolist()} == {(1, 2), (2, 20), (2, 40), (1, 4)}


def test_profiles_are_the_fractions_of_runs_with_a_run_that_diverged_below_none():
    runs = [outcome("a", 0, final=1.0), outcome("a", 1, final=4.0), outcome("b", 0, final=2.0, diverged=True)]
    lines = plots.plot_results(study_results(runs))["performance_profiles"].axes[0].lines
    assert dict(lines[0].get_xydata().tolist())[1] == 0.5 and dict(lines[0].get_xydata().tolist())[4] == 1
    assert set(lines[1].get_ydata()) == {0}


def test_there_is_no_profile_where_all_runs_ended_at_the_same_score():
    assert list(plots.plot_results(study_results([outcome("a", 0), outcome("a", 1)]))) == ["learning_curves"]


def test_the_steps_to_the_threshold_are_those_of_the_moving_average(whole):
    for row in read_csv(whole, "runs"):
        values = read_metrics(whole / row["arm"] / f"seed-{row['seed']}")
        below = [value["step"] for value in values if value["final_error_ema"] < TINY.threshold]
        assert row["steps_to_threshold"] == (str(below[0]) if below else "")
    assert {row["steps_to_threshold"] == "" for row in read_csv(whole, "runs")} == {True, False}


def test_seconds_to_the_threshold_are_those_of_training_then(whole):
    results = run_study(dataclasses.replace(TINY, threshold=100.0), whole, quiet=True)
    for outcome in results.outcomes:
        rows = read_metrics(whole / outcome.arm / f"seed-{outcome.seed}")
        assert outcome.threshold_reached == (1, rows[0]["seconds"]) and outcome.seconds == rows[-1]["seconds"]


def test_runs_csv_has_a_row_for_each_run_milestone_and_evaluation(whole):
    rows = read_csv(whole, "runs")
    assert [(row["arm"], row["seed"], row["step"]) for row in rows] == [
        (arm, seed, step)
        for arm, last in (("short", "6"), ("long", "12"))
        for seed in "01"
        for step in ("4", last)
    ]  # fmt: skip


# badger compare


def test_compare_makes_arms_of_runs_that_differ_in_their_seed_only(whole, tmp_path, command):
    folders = sorted(whole.glob("*/seed-*"))
    code, out, _ = command("compare", *folders, "--threshold", 1.435, "--folder", tmp_path)
    assert code == 0
    expected, actual = (f.read_text().split("![")[0] for f in (whole / "report.md", tmp_path / "report.md"))
    for line in [line for line in expected.splitlines() if line.startswith(("| short |", "| long |"))]:
        arm = {"short": "outer_steps=6", "long": "outer_steps=12"}[line.split()[1]]
        assert line.replace(f"| {line.split()[1]} |", f"| {arm} |") in actual
    assert (tmp_path / "report.md").read_text() in out


def test_compare_reads_the_last_evaluation_of_a_run_without_a_study(tmp_path, command):
    for seed in (3, 4):
        train(made(tmp_path / str(seed), seed=seed), 5, tensorboard=False)
        assert command("evaluate", tmp_path / str(seed), "--trust-code")[0] == 0
    previous = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    code, out, _ = command("compare", tmp_path / "3", tmp_path / "4", "--folder", tmp_path / "out")
    assert code == 0 and "| arm | runs | final_error | interquartile mean |" in out
    assert f"- {tmp_path / '3'}: is at outer step 5 of 30; it counts as it is" in out
    evaluations = [read_evaluation(tmp_path / seed)["scores"][seed] for seed in "34"]
    means = [scores["final_error"]["mean"] for scores in evaluations]
    assert f"| tiny_runs:tiny | 2 | {np.mean(means):.4g} +- " in out
    assert {file: file.stat().st_mtime_ns for file in previous} == previous


def test_compare_names_the_command_that_evaluates_a_run(tmp_path):
    train(made(tmp_path / "run", outer_steps=4), tensorboard=False)
    results = compare.compare_runs([tmp_path / "run"])
    assert results.missing == {str(tmp_path / "run"): f"has no evaluation; run `badger evaluate {tmp_path / 'run'}`"}


def test_compare_counts_the_members_of_a_population(tmp_path):
    train(made(tmp_path, outer_steps=4, seed=5, seeds=3), tensorboard=False)
    trials = compare.compare_runs([tmp_path], threshold=100.0).outcomes
    assert [(trial.seed, trial.threshold_reached[0]) for trial in trials] == [(seed, 1) for seed in (5, 6, 7)]
    assert len({tuple(trial.curve[1]) for trial in trials}) == 3


def test_compare_refuses_the_same_run_twice_and_runs_of_different_scores(whole, tmp_path, command):
    one = whole / "short" / "seed-0"
    train(made(tmp_path / "again", outer_steps=6, seed=0), tensorboard=False)
    code, _, err = command("compare", one, tmp_path / "again")
    assert code == 2 and "two runs of tiny_runs:tiny have seed 0, and may be copies of one run" in err
    other = build_run("repeat_previous", experts=2, **{"core.hidden_size": 4}, outer_steps=1, device="cpu")
    other.folder = tmp_path / "other"
    other.save()
    code, _, err = command("compare", one, other.folder)
    assert code == 2 and f"{other.folder} has the score accuracy, want final_error as the first run" in err


# The command line


def test_study_without_a_name_and_list_show_the_names(command):
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
def test_an_unknown_study_is_refused_with_the_valid_names(name, message):
    with pytest.raises(ValueError, match=message):
        find_study(name)


@pytest.mark.parametrize(
    "words, message",
    [
        (["--arms", "shrt"], "unknown arm 'shrt', want one of: short, long"),
        (["--seeds", "0"], "--seeds 0: want at least 1"),
        (["--quick"], "study 'tiny' has no quick version"),
    ],
)
def test_invalid_flags_are_refused(tmp_path, command, words, message):
    code, _, err = command("study", "tiny_runs:TINY", "--folder", tmp_path / "study", *words)
    assert code == 2 and message in err and not (tmp_path / "study").exists()


def test_help_explains_seeds(command):
    shown = command("study", "--help")[1]
    assert "use seeds from 100 on for exploration" in " ".join(re.sub(r"\x1b\[[\d;]*m|[│╭╮╰╯─]", " ", shown).split())


# TensorBoard


def hparams(folder):
    """The hyperparameters, and the names of the metrics, as TensorBoard's plugin reads them."""
    from tensorboard.plugins.hparams import metadata

    from tiny_runs import events

    contents = events(folder).PluginTagToContent("hparams")
    session = metadata.parse_session_start_info_plugin_data(contents[metadata.SESSION_START_INFO_TAG])
    experiment = metadata.parse_experiment_plugin_data(contents[metadata.EXPERIMENT_TAG])
    values = {name: getattr(value, value.WhichOneof("kind")) for name, value in session.hparams.items()}
    return values, [info.name.tag for info in experiment.metric_infos]


def test_a_finished_run_has_its_arguments_and_final_score_in_the_hparams_tab(tmp_path):
    run_trial(job(tmp_path, tensorboard=True))
    folder = tmp_path / "short" / "seed-0"
    values, names = hparams(folder)
    assert values == {"recipe": "tiny_runs:tiny", "outer_steps": 6, "seed": 0, "seeds": 1}  # with the defaults
    scores, events = json.loads((folder / "result.json").read_text())["scores"], scalars(folder)
    expected = [(step, pytest.approx(scores[str(step)][""]["final_error"]["mean"])) for step in (4, 6)]
    assert names == ["final_error/ema", "final_error/evaluated"]
    assert events["final_error/evaluated"] == expected and events["final_error/ema"]
    assert sorted(path.name for path in folder.iterdir() if path.is_dir()) == ["00006", "checkpoints"]  # 00006: points


def test_an_unfinished_run_is_not_in_the_hparams_tab(tmp_path):
    train(made(tmp_path / "run"), 5)
    with pytest.raises(KeyError):
        hparams(tmp_path / "run")


def test_notes_of_the_task_are_in_the_report(tmp_path):
    tasks = {"max_words": 15, "batch": 4, "outer_steps": 1, "core.hidden_size": 4, "core": "lstm"}
    own = Study(
        name="stories", claim="", arms={"only": Arm("babi", tasks)}, score="error", threshold=None, episodes=None,
        evaluations={"test": {"split": "test"}}, seeds=1,
    )  # fmt: skip
    one = job(tmp_path, "only", of=own)
    with pytest.warns(UserWarning, match="are skipped"):
        run_trial(one)
    task = load_trusted(one.folder).learner.task
    (train,), (test,) = task.notes, dataclasses.replace(task, split="test").notes
    assert "questions of split='train' have more than steps=15 words" in train and "split='test'" in test
    assert f"- {train}\n- {test}\n" in write_report(collect_results([one], {}), tmp_path / "report")


def test_single_runs_have_no_probability_of_improvement():
    runs = [outcome("a", 0, final=1.0), outcome("b", 0, final=2.0)]
    assert "P(improvement)" not in report_markdown(study_results(runs))
    assert "P(improvement)" in report_markdown(
        study_results([*runs, outcome("a", 1, final=1.5), outcome("b", 1, final=2.5)])
    )
