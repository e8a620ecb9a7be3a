"""`badger solve`: text, pictures, and wrong words."""

import pytest

from badger.cli.main import main
from badger.figures.pomdp import plot_policy_graph
from badger.planning import heuristic_search, policy_graph
from tasks.pomdp import load_model, write_pomdp


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_classic_is_solved_and_drawn(folder, capsys):
    assert main(["solve", "1d", "--precision", "0.01"]) == 0
    said = capsys.readouterr().out
    assert "4 states, 2 actions, 2 observations, discount 0.75" in said
    assert "1.470588 (fast informed bound), 1.645161 (QMDP)" in said and "gap" in said and "alpha vectors, " in said
    assert {file.name for file in (folder / "solved-1d").iterdir()} == {"alpha_vectors.png", "policy_graph.png"}


def test_a_file_is_solved_exactly(folder, capsys):
    write_pomdp(load_model("1d"), folder / "mine.POMDP")
    assert main(["solve", "mine.POMDP", "--method", "exact"]) == 0
    assert "1.2603447" in capsys.readouterr().out and (folder / "solved-mine").is_dir()


def test_a_horizon_needs_no_discount(folder, capsys):
    (folder / "coin.POMDP").write_text(
        "discount: 1 states: head tail actions: head tail observations: 1 T: * uniform O: * uniform "
        "R: head : head : * : * 1 R: tail : tail : * : * 1"
    )
    assert main(["solve", "coin.POMDP"]) == 2
    assert (
        "coin.POMDP: its discount is 1, so that returns may be infinite; want --horizon STEPS"
        in capsys.readouterr().err
    )
    assert main(["solve", "coin.POMDP", "--horizon", "4", "--out", "here"]) == 0
    assert "2.000000000 at the start (value iteration of 4 steps)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tiger"], "model='tiger', want a file in the POMDP format, or one of 1d"),
        (["bad.POMDP"], "bad.POMDP, line 2, column 1: got 'states', want a discount from 0 to 1"),
        (["1d", "--horizon", "0"], "--horizon 0: want at least 1"),
        (["1d", "--precision", "0"], "--precision 0"),
        (["1d", "--seconds", "-1"], "--seconds -1"),
        (["1d", "--method", "magic"], "--method magic: want bounds or exact"),
        (["1d", "--out", "bad.POMDP"], "--out bad.POMDP: want a folder"),
        (["."], "Is a directory"),
    ],
)
def test_wrong_words_are_one_line(words, message, folder, capsys):
    (folder / "bad.POMDP").write_text("discount:\nstates: 2\n")
    assert main(["solve", *words]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1


def test_large_graphs_are_drawn_in_part():
    model = load_model("4x3")
    graph = policy_graph(model, heuristic_search(model, 0.05).policy)
    figure = plot_policy_graph(graph, model.actions)
    assert len(figure.axes[0].texts) > len(graph) > 5
