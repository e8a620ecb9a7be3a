"""The figures in README's tables of results are those of files of results, which commands wrote."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    line.split("|")
    for line in (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    if line.startswith("| ") and "](notebooks/results/" in line
]
SETTINGS: dict[str, set[str]] = {  # what a question asks, bounds of a task, numbers of runs: no results
    "catch": {"3"},
    "load-unload": {"2.075", ".372"},
    "i-maze": {"5", "9", "36", ".5"},
    "sharing": {".438"},
    "dreamer": {"24.8"},
    "generalization": {"3", "5", "40", ".078", ".489", ".822", ".144"},  # of training, published
    "dec-tiger": {"5.19", "13.0"},
    "evolution": {"10000", "100", "500", "1", "2", "4"},
    "tree-mdp": {"2", "3", "4"},
}


def numbers(text):
    """Numbers as they are printed."""
    return re.findall(r"-?\d*\.?\d+", text)


def is_rounded(printed, values):
    decimals = len(printed.partition(".")[2])
    return any(abs(value - float(printed)) <= 0.5 * 10**-decimals + 1e-9 for value in values)


def kept_numbers(name):
    """All numbers in the results of a study."""
    files = [ROOT / "notebooks" / "results" / name / file for file in ("summary.csv", "report.md")]
    return [float(value) for file in files if file.exists() for value in numbers(file.read_text())]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[3].split("`")[1])
def test_the_figures_of_a_row_are_in_its_results(row):
    names = re.findall(r"notebooks/results/([\w-]+)/", row[3])
    values = [value for name in names for value in kept_numbers(name)]
    settings = set().union(*(SETTINGS.get(name, set()) for name in names))
    text = re.sub(r"\[[^]]*\]\([^)]*\)", "", row[2])  # links to publications
    text = re.sub(r"(?<=\d),(?=\d{3})", "", text)  # separators of thousands
    printed = [number for number in numbers(text) if number not in settings]
    assert len(printed) >= 3
    assert [number for number in printed if not is_rounded(number, values)] == []


def test_a_figure_that_no_file_has_is_found():
    assert is_rounded(".998", [0.99765]) and not is_rounded(".999", [0.99765])
