"""Simulations: curves of arms and seeds that are computed once, their crossing point and their report."""

import json
import math

import pytest

from badger.cli.main import main
from badger.errors import DamagedFile
from badger.study.run import write_definition
from badger.study.simulations import SIMULATIONS, Curves
from badger.study.simulations.report import overtaking_point
from badger.study.simulations.run import Job, compute, run_simulation


@pytest.mark.parametrize(
    ("ahead", "wanted"),
    [([-1, -1, 1, 1], 20.0), ([1, -1, 3, 5], 10 * 4**0.25), ([1, 2, 3, 4], 1.0), ([1, 2, 3, -4], math.inf)],
)
def test_a_curve_overtakes_where_it_stays_above_the_other(ahead, wanted):
    curves = Curves([1, 10, 40, 100], {"a": ahead, "b": [0, 0, 0, 0]})
    assert overtaking_point(curves, "a", "b") == pytest.approx(wanted)


def test_the_study_reports_the_curves_of_its_folder_and_computes_none_twice(tmp_path, capsys):
    simulation = SIMULATIONS["tree-mdp"].quick_version()
    write_definition(simulation, tmp_path)
    for seed in (0, 1):
        compute(Job(simulation, "branching-2", seed, tmp_path))
    assert main(["study", "tree-mdp", "--quick", "--arms", "branching-2", "--folder", str(tmp_path)]) == 0
    out, err = capsys.readouterr()
    assert "finished" not in err and "| branching-2 | 2 |" in out
    assert (tmp_path / "report.md").exists() and (tmp_path / "curves.png").stat().st_size > 1000
    found = json.loads((tmp_path / "results.json").read_text())["branching-2"]["curves"]["episodic"]["y"]
    runs = [simulation.simulate(seed=seed, **simulation.arms["branching-2"]).y["episodic"] for seed in (0, 1)]
    assert found == pytest.approx([sum(pair) / 2 for pair in zip(*runs, strict=True)])


def test_a_folder_of_another_simulation_and_damaged_curves_are_refused(tmp_path):
    simulation = SIMULATIONS["tree-mdp"].quick_version()
    write_definition(simulation, tmp_path)
    with pytest.raises(ValueError, match="holds study 'tree-mdp-quick'"):
        run_simulation(SIMULATIONS["tree-mdp"], tmp_path)
    file = Job(simulation, "branching-2", 0, tmp_path).file
    file.parent.mkdir()
    file.write_text('{"x": [1]}')
    with pytest.raises(DamagedFile, match=r"delete .* to compute it again"):
        run_simulation(simulation, tmp_path, seeds=1, arms=("branching-2",))


def test_it_is_listed_with_the_studies(capsys):
    assert main(["list"]) == 0
    assert "tree-mdp" in capsys.readouterr().out
