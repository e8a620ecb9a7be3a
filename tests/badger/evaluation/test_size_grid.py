"""Evaluation on a grid of sizes: scores and norms by hand, failed cells, tables, heat maps and the command."""

import csv
import math
import re
from typing import NamedTuple

import pytest
import torch

import badger
from badger import GRU, EpisodicMemory, GuessingGame, Private, RepeatPrevious, evaluate, evaluate_grid, generator
from badger.cli.grid import table, write
from badger.cli.main import main
from badger.evaluation.heatmaps import heat_maps
from badger.evaluation.published import OVER_DIMS, OVER_EXPERTS, published_error
from badger.evaluation.size_grid import GridCell, NormTracker, training_sizes, with_slots
from experts import Core
from tiny_runs import load_trusted
from toys import HIDDEN, game, png, seeded, toy_agent


def memory(input_size, hidden_size, slots=8, top_k=4):
    return EpisodicMemory(input_size, lambda size: GRU(size, hidden_size), slots=slots, top_k=top_k, key_size=3)


def private(input_size, hidden_size, **options):
    return Private(memory(input_size, hidden_size, **options))


class Count(NamedTuple):
    h: torch.Tensor  # (B, N, Y)
    sum: torch.Tensor  # (B, N)


class Growing(Core):
    """Puts out `rate` to the power of the step, in every number, in the episodes whose identities begin above 0."""

    def __init__(self, input_size, output_size, rate=2.0):
        super().__init__()
        self.input_size, self.output_size, self.rate = input_size, output_size, rate

    def initial_state(self, x):
        return Count(x.new_ones(*x.shape[:2], self.output_size), x.new_zeros(x.shape[:2]))

    def forward(self, x, state, present=None):
        grows = (x[:, :1, -3:-2] > 0).to(x.dtype)
        h = state.h * (1 + grows * (self.rate - 1))
        return h, Count(h, state.sum - 3 * self.rate)


# --- numbers


def test_there_is_a_cell_for_each_combination_and_other_sizes_are_as_trained():
    rows = evaluate_grid(
        toy_agent(core=private, port="readout"),
        game(),
        experts=[2, 4],
        dims=[1, 2, 2],
        slots=[3],
        episodes=2,
        rng=seeded(),
    )
    assert [row[:5] for row in rows] == [(e, d, 5, 3, 2) for e in (2, 4) for d in (1, 2)]
    assert all(math.isfinite(row.mean) for row in rows)
    (row,) = evaluate_grid(toy_agent(core=private), game(), episodes=2, rng=seeded())
    assert row[:5] == (4, 2, 5, 8, 2) and not row.failure and row.nonfinite_fraction == 0


def test_a_cell_has_the_mean_standard_error_and_interval_of_an_evaluation():
    agent, task = toy_agent(port="round_robin"), game()
    (row,) = evaluate_grid(agent, task, experts=[6], steps=[7], episodes=50, rng=seeded(3))
    rng = generator(3, "grid [6, 2, 7, None]")
    score = evaluate(agent, game(steps=7), 50, rng, experts=6)["final_error"]
    error = score.std().item() / 50**0.5
    want = [score.mean().item(), error, score.mean().item() - 1.96 * error, score.mean().item() + 1.96 * error]
    assert [row.mean, row.sem, row.ci_low, row.ci_high] == pytest.approx(want)


def test_a_cell_has_the_same_result_in_any_grid():
    agent, options = toy_agent(), {"episodes": 8}
    (alone,) = evaluate_grid(agent, game(), experts=[3], rng=seeded(1), **options)
    several = evaluate_grid(agent, game(), experts=[4, 3], steps=[5, 6], rng=seeded(1), **options)
    assert alone in several and len({row.mean for row in several}) == 4
    assert evaluate_grid(agent, game(), experts=[3], rng=seeded(2), **options) != [alone]


def test_a_grid_does_not_change_agent_and_generator():
    agent, rng = toy_agent(core=private), seeded()
    before = {name: p.clone() for name, p in agent.state_dict().items()}, rng.get_state()
    evaluate_grid(agent, game(), slots=[2, 3], episodes=2, rng=rng)
    assert all(torch.equal(p, before[0][name]) for name, p in agent.state_dict().items())
    assert torch.equal(rng.get_state(), before[1]) and agent.core.core.slots == 8 and agent.training


def test_episodes_are_limited_by_the_number_of_experts():
    agent = toy_agent(bus="silent", topology="none")
    rows = evaluate_grid(
        agent, GuessingGame(1, 2, dtype=torch.float64), experts=[4, 5000, 2**17], episodes=64, rng=seeded()
    )
    assert [row.episodes for row in rows] == [64, 2**17 // 5000, 4]


def test_a_single_episode_has_no_standard_error():
    (row,) = evaluate_grid(toy_agent(), game(), episodes=1, rng=seeded())
    assert math.isfinite(row.mean) and math.isnan(row.sem) and row.nonfinite_fraction == 0


# --- states


@pytest.mark.parametrize("steps", [3, 6])
def test_the_largest_norm_is_that_of_any_part_of_a_state_in_any_step(steps):
    agent = toy_agent(core=lambda size, hidden: Growing(size, hidden, rate=2.0), bus="silent")
    (row,) = evaluate_grid(agent, game(), steps=[steps], episodes=16, rng=seeded())
    assert row.max_state_norm == pytest.approx(max(2.0**steps * HIDDEN**0.5, 6 * steps)) and row.nonfinite_fraction == 0
    shrinking = toy_agent(core=lambda size, hidden: Growing(size, hidden, rate=0.5), bus="silent")
    (row,) = evaluate_grid(shrinking, game(), steps=[steps], episodes=16, rng=seeded())
    assert row.max_state_norm == pytest.approx(max(HIDDEN**0.5, 1.5 * steps))


def test_norms_are_tracked_by_episode():
    agent, watch = toy_agent(core=Growing, bus="silent"), NormTracker()
    heads = []

    def begin(state):
        heads.append(state.identity[:, 0, 0])
        return watch.start(state)

    evaluate(agent, game(steps=5), 1030, seeded(), modify_state=begin, hook=watch.update)  # in two parts
    wanted = torch.where(torch.cat(heads) > 0, 2.0**5 * HIDDEN**0.5, 5 * 6.0).double()
    assert torch.allclose(watch.result(), wanted)


def test_episodes_that_are_not_finite_are_counted_and_make_the_mean_not_finite():
    agent = toy_agent(core=lambda size, hidden: Growing(size, hidden, rate=1e200), bus="silent")
    (row,) = evaluate_grid(agent, game(), episodes=400, rng=seeded())
    assert row.nonfinite_fraction == pytest.approx(0.5, abs=0.1) and not math.isfinite(row.max_state_norm)
    assert not math.isfinite(row.mean) and math.isnan(row.sem) and not row.failure


def test_a_finite_score_does_not_hide_states_that_are_not_finite():
    """Of infinite logits, one is still the largest."""
    task = RepeatPrevious(6, 4, dtype=torch.float64)
    agent = toy_agent(task, core=lambda size, hidden: Growing(size, hidden, rate=1e200), bus="silent")
    (row,) = evaluate_grid(agent, task, episodes=64, rng=seeded())
    assert math.isfinite(row.mean) and 0.2 < row.nonfinite_fraction < 0.8 and row.max_state_norm == math.inf


class Blinking(Growing):
    """Puts out NaN in the second step alone."""

    def forward(self, x, state, present=None):
        _, state = super().forward(x, state, present)
        bad = state.sum == -6 * self.rate
        return torch.where(bad.unsqueeze(-1), torch.nan, torch.ones_like(state.h)), state


def test_a_nan_norm_persists():
    (row,) = evaluate_grid(toy_agent(core=Blinking, bus="silent"), game(), episodes=4, rng=seeded())
    assert math.isfinite(row.mean) and row.nonfinite_fraction == 1 and math.isnan(row.max_state_norm)


def test_a_score_that_is_not_finite_counts_with_finite_states():
    agent = toy_agent(core=lambda size, hidden: Growing(size, hidden, rate=1.0), bus="silent")
    torch.nn.init.constant_(agent.act.linear.weight, 1e308)
    (row,) = evaluate_grid(agent, game(), episodes=4, rng=seeded())
    assert row.mean == math.inf and row.nonfinite_fraction == 1 and row.max_state_norm == pytest.approx(15)


def test_a_norm_of_numbers_whose_squares_overflow_is_finite():
    agent = toy_agent(core=lambda size, hidden: Growing(size, hidden, rate=1e10), bus="silent").float()
    (row,) = evaluate_grid(agent, GuessingGame(3, 2), episodes=8, rng=seeded())
    assert row.max_state_norm == pytest.approx(1e30 * HIDDEN**0.5, rel=1e-5)


# --- slots


@pytest.mark.parametrize("core", [private, memory], ids=["private", "shared"])
@pytest.mark.parametrize(("slots", "used", "read"), [(4, 4, 4), (8, 8, 4), (16, 11, 4)])
def test_the_agent_uses_another_number_of_slots(core, slots, used, read):
    agent = toy_agent(core=core, experts=1)
    other, task = with_slots(agent, slots), game(steps=12)
    with torch.no_grad():
        carry = badger.initial_carry(other, task, 3, seeded())
        _, carry = badger.rollout(other, task, carry, seeded(), steps=12)
    assert other.core.metrics(carry.agent_state.core)["slots_used"].tolist() == [used] * 3
    assert (other.core.read_weights(carry.agent_state.core) > 0).sum(-1).unique().tolist() == [read]
    assert other.core.read_weights(carry.agent_state.core).shape[-1] == slots


@pytest.mark.parametrize("slots", [2, 5, 16])
@pytest.mark.parametrize("core", [private, memory], ids=["private", "shared"])
def test_changed_slots_equal_an_agent_built_with_them(core, slots):
    task = game(steps=12)
    changed = with_slots(toy_agent(task, core=core, experts=2), slots)
    built = toy_agent(task, core=lambda i, h: core(i, h, slots=slots), experts=2)
    a, b = (evaluate(agent, task, 6, seeded())["error"] for agent in (changed, built))
    assert torch.equal(a, b)
    mine, theirs = ([m for m in agent.modules() if isinstance(m, EpisodicMemory)] for agent in (changed, built))
    assert [(m.slots, m.attend, m.fused_config) for m in mine] == [(m.slots, m.attend, m.fused_config) for m in theirs]


def test_slots_are_changed_in_every_cell():
    agent, task = toy_agent(core=private), game(steps=12)
    few, as_built = evaluate_grid(agent, task, slots=[1, 8], episodes=8, rng=seeded())
    rng = generator(0, "grid [4, 2, 12, 1]")
    assert few.mean == pytest.approx(evaluate(with_slots(agent, 1), task, 8, rng)["final_error"].mean().item())
    rng = generator(0, "grid [4, 2, 12, 1]")
    assert few.mean != pytest.approx(evaluate(agent, task, 8, rng)["final_error"].mean().item(), rel=1e-9)
    rng = generator(0, "grid [4, 2, 12, 8]")
    assert as_built.mean == pytest.approx(evaluate(agent, task, 8, rng)["final_error"].mean().item())


# --- what cannot be


def test_a_failed_cell_has_its_error_and_the_others_are_evaluated():
    agent = toy_agent(port="round_robin", core=memory)
    rows = evaluate_grid(agent, game(), experts=[3, 4, 10], episodes=2, rng=seeded())
    assert [bool(row.failure) for row in rows] == [True, False, True]
    assert rows[0].failure.startswith("experts=3, want a multiple of outputs=2: act.RoundRobin")
    assert rows[2].failure.startswith("slots=8 with 10 members that share a store")
    assert all(math.isnan(number) for number in rows[0][5:11])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (MemoryError(), "MemoryError"),
        (RuntimeError("not enough memory\nfor this"), "not enough memory"),
        (ValueError("no such graph"), "no such graph"),
    ],
)
def test_a_failure_is_the_first_line_of_the_error(error, message):
    def topology(experts):
        if experts > 4:
            raise error
        return badger.TOPOLOGIES["ring"](experts)

    rows = evaluate_grid(toy_agent(topology=topology), game(), experts=[4, 5], episodes=2, rng=seeded())
    assert [row.failure for row in rows] == ["", message]


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        ({"slots": [3]}, r"slots=\[3\], but the agent has no episodic memory: leave slots out"),
        ({"dims": [3]}, r"dims=\[3\], but RepeatPrevious has no dims: leave dims out"),
        ({"episodes": 0}, "episodes=0, want at least 1"),
    ],
)
def test_missing_sizes_raise_at_once(asked, error):
    task = RepeatPrevious(6, 4, dtype=torch.float64)
    with pytest.raises(ValueError, match=error):
        evaluate_grid(toy_agent(task), task, **{"episodes": 2, **asked}, rng=seeded())


def test_slots_of_an_agent_without_a_memory_cannot_be_changed():
    with pytest.raises(ValueError, match="slots=3, but the agent has no episodic memory"):
        with_slots(toy_agent(), 3)
    with pytest.raises(ValueError, match="slots=0, want at least 1"):
        with_slots(toy_agent(core=private), 0)


# --- figures of others


def test_cells_have_published_results_of_their_sizes():
    agent = toy_agent(port="readout")
    rows = evaluate_grid(agent, game(20), experts=[6, 20], dims=[3, 6], steps=[20, 21], episodes=1, rng=seeded())
    found = {row[:3]: row.published for row in rows if row.published is not None}
    assert found == {(20, 3, 20): 0.028, (20, 6, 20): 0.133, (6, 6, 20): 0.30}


def test_only_the_guessing_game_has_published_results():
    assert published_error(GuessingGame(20, 6), 76) == 0.144 and published_error(GuessingGame(20, 19), 20) == 0.822
    assert published_error(RepeatPrevious(20, 4), 20) is None and published_error(GuessingGame(20, 5), 76) is None
    assert len(OVER_DIMS) == 12 and len(OVER_EXPERTS) == 10


# --- what is written


ROWS = [
    GridCell(2, 1, 5, None, 8, 0.5, 0.1, 0.304, 0.696, 3.25, 0.0),
    GridCell(2, 2, 5, None, 8, 0.25, 0.1, 0.054, 0.446, 3.25, 0.0, 0.133),
    GridCell(3, 1, 5, None, 8, math.inf, math.nan, math.nan, math.nan, math.nan, 0.125),
    GridCell(3, 2, 5, None, 8, failure="experts=3, want a multiple of outputs=2: act.RoundRobin, \"and so on\""),
]  # fmt: skip
TRAINED = {"experts": 2, "dims": 1, "steps": 5, "slots": None}


def test_csv_is_read_back(tmp_path):
    write(ROWS, tmp_path / "grid.csv")
    with (tmp_path / "grid.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert list(lines[0]) == list(GridCell._fields)
    for line, row in zip(lines, ROWS, strict=True):
        for name, value in row._asdict().items():
            if isinstance(value, str):
                assert line[name] == value
            else:
                want = pytest.approx(value, nan_ok=True) if value is not None else None
                assert (float(line[name]) if line[name] else None) == want


def test_the_table_has_results_and_failures():
    lines = table(ROWS, "final_error").splitlines()
    assert lines[0].startswith("| experts | dims | steps | final_error | published |")  # nobody has slots
    assert lines[2] == "| 2 | 1 | 5 | 0.5000 +- 0.1000 |  | 0.3040 to 0.6960 | 8 | 3.25 | 0.0% |"
    assert lines[3].startswith("| 2 | 2 | 5 | 0.2500 +- 0.1000 | 0.133 |")
    assert "inf +- nan" in lines[4] and lines[4].endswith("| nan | 12.5% |")
    assert "failed: experts=3, want a multiple" in lines[5]
    assert "Rosa et al. 2019" in lines[-1] and len({line.count(" | ") for line in lines[:5]} - {8}) <= 1
    assert "published" not in table(ROWS[:1], "final_error")


def test_a_heat_map_has_results_failures_and_training_sizes():
    figure = heat_maps(ROWS, TRAINED, "final_error")
    (axes,) = figure.axes
    assert [text.get_text() for text in axes.texts] == ["0.5", "0.25\n(0.133)", "inf\n12% not finite", "failed"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["1*", "2"]
    assert [label.get_text() for label in axes.get_yticklabels()] == ["2*", "3"]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("dims", "experts")
    (frame,) = axes.lines
    assert (frame.get_xdata().min(), frame.get_xdata().max(), frame.get_ydata().max()) == (-0.5, 0.5, 0.5)
    (image,) = axes.images
    assert type(image.norm).__name__ == "LogNorm" and image.get_array().mask.tolist() == [[False, False], [True, True]]
    png(figure)


def test_there_is_a_heat_map_for_each_pair_of_varied_sizes():
    rows = [GridCell(e, d, t, 4, 8, e + d / 4 + (t - 5) / 8) for e in (1, 2) for d in (1, 2) for t in (5, 6)]
    figure = heat_maps(rows, {"experts": 2, "dims": 7, "steps": 5, "slots": 4}, "final_error")
    assert [(a.get_ylabel(), a.get_xlabel()) for a in figure.axes] == [
        ("experts", "dims"), ("experts", "steps"), ("dims", "steps")
    ]  # fmt: skip
    assert figure.axes[0].images[0].get_array().tolist() == [[1.25, 1.5], [2.25, 2.5]]  # steps as trained
    assert figure.axes[1].images[0].get_array().tolist() == [[1.25, 1.375], [2.25, 2.375]]  # dims: the first
    assert figure.axes[0].get_title() == "final_error\nsteps 5, slots 4"
    assert [len(a.lines) for a in figure.axes] == [0, 1, 0]  # 7 dims are not shown
    png(figure)


@pytest.mark.parametrize("rows", [ROWS[:1], ROWS[:2], ROWS[2:], ROWS[3:], [ROWS[0]._replace(mean=-1.0), ROWS[1]]])
def test_any_grid_can_be_plotted(rows):
    figure = heat_maps(rows, TRAINED, "final_error")
    assert len(figure.axes) == 1 and len(figure.axes[0].texts) == len(rows)
    png(figure)


# --- the command


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = badger.build_run("tiny_runs:tiny")
    run.folder = tmp_path_factory.mktemp("grid") / "run"
    run.save()
    return run.folder


def run_command(capsys, *words):
    try:
        code = main([str(word) for word in words])
    except SystemExit as stop:  # of tyro
        code = stop.code
    return code, *capsys.readouterr()


def test_the_command_prints_a_table_and_writes_numbers_and_heat_maps(folder, tmp_path, capsys):
    out = tmp_path / "new" / "folder"
    words = "--experts 2 3 4 --dims 1 2 --steps 3 6 --slots 2 64 --episodes 3 --seed 5 --out"
    code, text, err = run_command(capsys, "evaluate", folder, "--grid", "--trust-code", *words.split(), out)
    assert (code, err) == (1, "badger: 4 of 24 cells failed; the table has the reasons\n")
    assert text.startswith("after 0 outer steps")
    with (out / "grid.csv").open(newline="") as file:
        lines = list(csv.DictReader(file))
    assert len(lines) == 24 and [line["slots"] for line in lines[:2]] == ["2", "64"]
    run = load_trusted(folder)
    rows = evaluate_grid(
        run.learner.agent, run.learner.task, experts=[4], dims=[2], slots=[2], episodes=3, rng=generator(5, "evaluate")
    )
    assert f"| 4 | 2 | 3 | 2 | {rows[0].mean:.4f} +- " in text
    assert len(re.findall("failed: experts=3, want a multiple of outputs=2", text)) == 4
    assert (out / "grid.png").read_bytes().startswith(b"\x89PNG") and (out / "grid.png").stat().st_size > 5000


def test_the_command_writes_into_the_runs_folder(folder, capsys):
    assert run_command(capsys, "evaluate", "--grid", folder, "--trust-code", "--episodes", 2)[0] == 0
    assert (folder / "grid.csv").exists() and (folder / "grid.png").exists()
    assert load_trusted(folder).step == 0


def test_the_command_has_help_and_names_errors(folder, capsys):
    code, text, _ = run_command(capsys, "evaluate", "--grid", "--help")
    assert code == 0 and "--slots" in text and "such as 5 10 20" in text
    assert "--grid" in run_command(capsys, "--help")[1] and "--grid" in run_command(capsys, "evaluate", "--help")[1]
    code, _, err = run_command(capsys, "evaluate", folder, "--grid", "--trust-code", "--member", 1)
    assert code == 2 and "--member 1: the run has 1 members, want 0 to 0" in err
    _, _, err = run_command(capsys, "evaluate", folder, "--grid", "--trust-code", "--episodes", 0)
    assert "--episodes 0: want at least 1" in err


def test_trained_sizes_are_those_of_the_run(folder):
    run = load_trusted(folder)
    assert training_sizes(run.learner.agent, run.learner.task) == {"experts": 2, "dims": 2, "steps": 3, "slots": 64}
