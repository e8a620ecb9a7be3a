"""Published results beside ours: kept results, estimates, verdicts, and the command that prints them."""

import math
import shutil
from pathlib import Path

import numpy as np
import pytest

from badger.cli.main import main
from badger.errors import DamagedFile
from badger.study import STUDIES, StudyResults, TrialResult
from badger.study.published import PUBLISHED, PublishedResult, collect_kept
from badger.study.published.kept_results import FOLDERS, kept_results, read_kept_results, results_to_json
from badger.study.published.report import plot_published, published_report, write_published_report

RLIABLE_IQM, RLIABLE_INTERVAL = 0.30816201, (-0.10407845, 0.82576552)
FACTS = {"name": "x", "text": "x", "source": "x", "study": "mine", "arm": "a"}


def of_runs(better="higher", steps=(), **scores):
    """Results of a study with these final scores of each arm."""
    outcomes = [
        TrialResult(
            arm=arm, seed=seed, steps=9, budget=9, seconds=1.5, curve=([], []),
            threshold_reached=(steps[seed], 0.5) if steps and math.isfinite(steps[seed]) else None,
            scores={9: {"": {"score": {"mean": None if math.isnan(value) else value, "sem": 0.1}}}},
            diverged=math.isnan(value),
        )
        for arm, values in scores.items() for seed, value in enumerate(values)
    ]  # fmt: skip
    return StudyResults(
        name="mine", claim="x", arms=list(scores), score="score", better=better, threshold=None, references={},
        outcomes=outcomes,
    )  # fmt: skip


def test_every_entry_names_an_arm_and_an_evaluation_of_a_study():
    for entry in PUBLISHED.values():
        study = STUDIES[entry.study]
        assert set(entry.arms) <= set(study.arms)
        assert entry.evaluation is None or entry.evaluation in study.evaluations
        assert entry.measure == "score" or study.threshold is not None


def test_at_least_fifteen_published_results_were_run():
    results = collect_kept(PUBLISHED.values())
    assert sum(entry.verdict(results.get(entry.study)) != "not run" for entry in PUBLISHED.values()) >= 15


@pytest.mark.parametrize(
    ("published", "scores", "better", "verdict"),
    [
        (1.0, [2, 3, 4], "higher", "beaten"),
        (1.0, [2, 3], "higher", "reached"),  # two runs beat nothing
        (1.0, [0, 3, 4], "higher", "reached"),  # better, with an interval that begins below
        (1.0, [1, 1, 1], "higher", "reached"),
        (1.0, [0, 0, 3], "higher", "missed"),
        (1.0, [0.5, 0.4, 0.3], "lower", "beaten"),
        (1.0, [0.5, 0.4, math.nan], "lower", "missed"),  # a run that diverged is worse than any other
        (-1.0, [-2, -2, -2], "higher", "missed"),
    ],
)
def test_a_published_figure_is_beaten_reached_or_missed(published, scores, better, verdict):
    entry = PublishedResult(**FACTS, published=published)
    assert entry.verdict(of_runs(better, a=scores)) == verdict


@pytest.mark.parametrize(
    ("ours", "others", "verdict"),
    [
        ([3, 4, 5], [1, 2, 2], "reached"),
        ([3, 4, 1], [1, 2, 2], "missed"),
        ([3, 4], [1, 2, 2], "not run"),
        ([3, 4, 5], [], "not run"),
    ],
)
def test_a_claim_is_reached_where_the_whole_interval_is_above_one_half(ours, others, verdict):
    assert PublishedResult(**FACTS, over="b").verdict(of_runs(a=ours, b=others)) == verdict


def test_what_was_not_run_has_no_verdict():
    assert PublishedResult(**FACTS, published=1.0).verdict(None) == "not run"


def test_steps_are_their_median_and_a_run_that_never_came_is_infinite():
    entry = PublishedResult(**FACTS, published=5, measure="steps")
    ours = entry.estimate(of_runs(a=[1, 1, 1], steps=[4, 6, math.inf]))
    assert (ours.value, ours.high, ours.runs) == (6, math.inf, 3)


def test_an_entry_is_a_figure_or_a_claim():
    with pytest.raises(ValueError, match="want one of both"):
        PublishedResult(**FACTS)


def test_statistics_are_rliables_on_the_same_runs():
    """By rliable 1.2.0 with arch 7.2.0, 20,000 resamples: the interval differs between two bootstraps by chance."""
    runs = [0.12573022, -0.13210486, 0.64042265, 0.10490012, -0.53566937, 0.36159505, 1.30400005, 0.94708096]
    results = of_runs(a=runs)
    ours = PublishedResult(**FACTS, published=0.0).estimate(results)
    np.testing.assert_allclose(ours.value, RLIABLE_IQM, rtol=1e-8)
    np.testing.assert_allclose((ours.low, ours.high), RLIABLE_INTERVAL, atol=0.05)


def test_kept_results_are_those_that_were_written(tmp_path):
    results = of_runs(a=[1, math.nan], b=[2, 3], steps=[4, math.inf])
    (tmp_path / "results.json").write_text(results_to_json(results))
    assert read_kept_results(tmp_path / "results.json") == results


def test_a_damaged_file_of_results_is_named(tmp_path):
    file = tmp_path / "results.json"
    file.write_text(results_to_json(of_runs(a=[1])).replace('"seed": 0', '"seed": "0"'))
    with pytest.raises(DamagedFile, match=r"runs.0.seed is '0', want int"):
        read_kept_results(file)


def test_kept_results_of_a_checkout_are_those_of_a_wheel(tmp_path, monkeypatch):
    shutil.copytree(FOLDERS[1] / "load-unload", tmp_path / "load-unload")
    monkeypatch.setattr("badger.study.published.kept_results.FOLDERS", (tmp_path, Path("nowhere")))
    wheel, nothing = kept_results("load-unload"), kept_results("catch")
    monkeypatch.undo()
    assert (wheel, nothing) == (kept_results("load-unload"), None)


def test_the_kept_report_is_that_of_the_kept_results():
    report = (FOLDERS[1] / "published" / "report.md").read_text()
    entries = list(PUBLISHED.values())
    assert report.startswith(published_report(entries, collect_kept(entries)))


def test_the_report_is_written_with_its_chart(tmp_path):
    entries = [PublishedResult(**FACTS, published=1.0), PublishedResult(**FACTS | {"name": "y"}, over="b")]
    report = write_published_report(entries, {"mine": of_runs(a=[2, 3, 4], b=[1, 1, 1])}, tmp_path / "report")
    assert "| x | x | 1 | 3 (2 to 4) | 3 |" in report.read_text()
    assert (tmp_path / "report" / "published.png").stat().st_size > 5000
    assert plot_published(entries, {}) is None


def test_the_command_prints_the_report_from_any_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["study", "reproduce", "--report"]) == 0
    assert "| load-unload |" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("words", [[], ["load-unload", "--report"], ["nonsense"]])
def test_the_command_wants_a_name_or_report(words, capsys):
    assert main(["study", "reproduce", *words]) == 2
    assert "published result" in capsys.readouterr().err


def test_the_command_runs_the_study_of_a_result(tmp_path, monkeypatch, capsys):
    quick = STUDIES["load-unload"].quick_version()
    monkeypatch.setitem(STUDIES, "load-unload", quick)
    assert main(["study", "reproduce", "load-unload", "--seeds", "1", "--jobs", "1", "--folder", str(tmp_path)]) == 0
    assert "| load-unload |" in capsys.readouterr().out
    assert {run.arm for run in read_kept_results(tmp_path / "results.json").outcomes} == {"one bit"}
