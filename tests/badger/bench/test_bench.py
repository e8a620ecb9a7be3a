"""badger bench: measurement, results, and each benchmark at a tiny size."""

import json
import math
import subprocess
import sys
from functools import partial

import pytest
import torch

from badger import Maze
from badger import bench as package
from badger.bench import BENCHMARKS, BenchResult, as_json, bench, measure, table
from badger.bench.cases import agents, crowd, memory, million
from badger.bench.cases.agents import Game
from badger.bench.cases.dnc import DNCSizes
from badger.bench.cases.learners.populations import MemberSizes
from badger.bench.cases.learners.recurrent_ppo import PPOSizes
from badger.bench.cases.memory_costs import lengths
from badger.bench.cases.memory_costs.price import price_table, prices
from badger.bench.cases.offline import OfflineSizes
from badger.bench.cases.sparse import LinkSizes, SparseSizes
from badger.bench.references import selected_read
from badger.bench.result import Goal, at_least, at_most, max_ratio, min_speedup, on_gpu
from badger.cli.main import main
from comms.generators import random_regular
from experts import Core
from tiny_runs import strict_json

CPU = torch.device("cpu")
RECIPE = {"experts": 2, "dims": 1, "steps": 2, "core.hidden_size": 4, "batch": 2, "outer_steps": 10}
SIZES = memory.MemorySizes(steps=3, rows=2, slots=2, input_size=2, hidden_size=4, key_size=3, top_k=2)
FEW = crowd.CrowdSizes(experts=12, neighbors=2, hidden_size=4, message_size=4, slots=2, top_k=1, key_size=2)
MAZES = {"plasticity": Maze(3, 5), "backpropamine": Maze(3, 5, True, True)}
TINY = {
    "memory-vs-dense": {"sizes": SIZES, "repeats": 1},
    "shard-experts": {"sizes": FEW, "processes": 1, "repeats": 1},
    "memory-vs-gru": {"sizes": SIZES, "repeats": 1},
    "episode-length": {"sizes": SIZES, "lengths": (2, 4), "repeats": 1},
    "memory-price": {"cores": ("lstm",), "sizes": lengths.LengthSizes(2, 2, 3), "lengths": (2, 4), "repeats": 1},
    "input-length": {"sizes": lengths.LengthSizes(2, 2, 3), "lengths": (2, 4), "repeats": 1},
    "input-crossing": {"sizes": lengths.LengthSizes(2, 2, 3), "lengths": (2, 4), "repeats": 1},
    "million-slots": {"sizes": million.MillionSizes(slots=16, members=2, word=2, hidden_size=3, steps=3), "repeats": 1},
    "sam-million": {"sizes": SparseSizes(16, 3, 2, 16, 3, 2, 2, 2, 3), "repeats": 1},
    "sdnc-vs-dnc": {"sizes": LinkSizes(2, (1, 2), 16, 2, 2, 2, 3), "repeats": 1},
    "dnc": {"sizes": DNCSizes(2, 2, (3,), slot_size=2, heads=2, input_size=2, hidden_size=3), "repeats": 1},
    "maze": {"rows": (2,), "sizes": {"plasticity": 3, "backpropamine": 3}, "tasks": MAZES, "repeats": 1},
    "env-throughput": {"rows": 2, "steps": 3, "single": 3, "repeats": 1},
    "external-envs": {"rows": 2, "steps": 3, "repeats": 1},
    "recurrent-ppo": {"sizes": PPOSizes(2, 4, 1, 2, 3), "repeats": 1},
    "memory-overhead": {"recipe": RECIPE, "repeats": 1},
    "badger-2019": {"game": Game(batch=2, experts=3, dims=2, steps=2), "repeats": 1},
    "experts": {"sizes": FEW, "numbers": (6, 18), "looped": 4, "dense": 8, "huge": 24, "repeats": 1},
    "episodic-store": {"rows": (20,), "hnsw_rows": 20, "repeats": 1},
    "episode-dataset": {"steps": 300, "windows": (3, 200), "batches": 2, "repeats": 1},
    "evolution": {"sizes": MemberSizes(population=4, hidden_size=4, batch=1, steps=2), "repeats": 1},
    "offline": {"sizes": OfflineSizes(4, 1, 3, 2, 1, 2, 4, 5, 2), "repeats": 1},
    "logging": {"recipe": RECIPE, "outer_steps": 2, "repeats": 1},
}


class Clock:
    """A clock that advances by the given naps only."""

    def __init__(self):
        self.now, self.slept = 0.0, []

    def __call__(self):
        return self.now

    def side(self, name, naps, ready=0.0):
        naps = iter(naps)

        def prepare():
            self.now += ready
            return lambda: self.sleep(name, next(naps))

        return prepare

    def sleep(self, name, seconds):
        self.slept.append(name)
        self.now += seconds


def test_computations_are_measured_alternately():
    clock = Clock()
    measure.time_interleaved({"a": clock.side("a", [1] * 4), "b": clock.side("b", [1] * 4)}, repeats=3, clock=clock)
    assert clock.slept == ["a", "b"] * 4


def test_the_warm_up_round_is_not_counted():
    clock = Clock()
    assert measure.time_interleaved({"a": clock.side("a", [9, 1, 2])}, repeats=2, clock=clock) == {"a": [1, 2]}


def test_setup_time_is_not_counted():
    clock = Clock()
    sides = {"a": clock.side("a", [0, 1, 2], ready=7), "b": clock.side("b", [0, 3, 4], ready=5)}
    assert measure.time_interleaved(sides, repeats=2, clock=clock) == {"a": [1, 2], "b": [3, 4]}


def test_no_setup_returns_the_computation():
    assert measure.no_setup(Clock.__init__)() is Clock.__init__


def test_zero_repeats_are_refused():
    with pytest.raises(ValueError, match="repeats=0, want at least 1"):
        measure.time_interleaved({}, repeats=0, clock=Clock())


def allocating(megabytes):
    """A computation that allocates this many MB temporarily."""
    return lambda: bytearray(int(megabytes * 1e6)).find(b"x")  # read, since an untouched page takes no memory


def test_peak_memory_is_that_of_the_computation_alone():
    unrelated = bytearray(400_000_000)  # in this process, not in the measured one
    assert measure.peak_memory(partial(allocating, 120), partial(allocating, 1), CPU) == pytest.approx(120, abs=10)
    assert len(unrelated) > 0


def test_freed_memory_is_not_counted():
    """A buffer of 7 MB is cloned at each of 60 steps; only small tensors stay alive."""
    sizes = memory.MemorySizes(steps=60, rows=64)
    work, small = (partial(memory.dense_work, s, CPU, selected_read) for s in (sizes, sizes._replace(steps=2)))
    assert measure.peak_memory(work, small, CPU) < 150


def test_the_ratio_is_the_median_over_rounds():
    assert BenchResult("case", "s", [1, 2, 6], [4, 1, 6]).ratio == 1  # of 1/4, 2 and 1


def test_there_is_no_ratio_without_both_sides():
    assert BenchResult("case", "s", [1.0]).ratio is None
    assert BenchResult("case", "s").ratio is None


@pytest.mark.parametrize(
    ("goal", "ours", "reference", "passed"),
    [
        (min_speedup(8, "faster"), 1, 8, True),
        (min_speedup(8, "faster"), 1, 7, False),
        (max_ratio(2), 4, 2, True),
        (max_ratio(2), 5, 2, False),
        (at_most(50, "ms"), 50, 1, True),
        (at_most(50, "ms"), 51, 99, False),
        (at_least(20, "steps/s"), 20, 99, True),
        (at_least(20, "steps/s"), 19, 1, False),
    ],
)
def test_a_goal_is_reached_or_missed(goal, ours, reference, passed):
    assert BenchResult("case", "s", [ours], [reference], goal=goal).passed is passed


@pytest.mark.parametrize("row", [BenchResult("case", "s", [1.0]), BenchResult("case", "s", goal=at_most(1, "s"))])
def test_without_a_goal_or_a_measurement_there_is_no_verdict(row):
    assert row.passed is None


def test_goals_describe_themselves():
    goals = [min_speedup(8, "faster"), max_ratio(1.05), at_most(50, "ms"), at_least(20, "steps/s")]
    assert [goal.text for goal in goals] == [">= 8x faster", "<= 1.05x", "<= 50 ms", ">= 20 steps/s"]


def test_the_table_shows_median_spread_ratio_goal_and_verdict():
    rows = [
        BenchResult("fast", "s", [1, 2, 3], [4, 8, 12], "a loop", min_speedup(4, "faster"), "a note"),
        BenchResult("slow", "ms", [3.0], goal=at_most(2, "ms")),
    ]
    assert table(rows).splitlines()[2:] == [
        "| fast | s | 2 [1, 3] | 8 [4, 12] a loop | 0.25 | >= 4x faster | reached | a note |",
        "| slow | ms | 3 [3, 3] | - | - | <= 2 ms | missed |  |",
    ]


def test_a_row_for_a_gpu_says_that_it_was_not_measured_where_there_is_none():
    row = on_gpu(CPU, "case/gpu", "ms", at_most(1, "ms"), lambda: pytest.fail("measured"))
    assert table([row]).splitlines()[-1] == (
        "| case/gpu | ms | not measured | - | - | <= 1 ms |  | not measured: wants --device cuda |"
    )


def test_json_has_measurements_goal_and_versions_of_each_row():
    rows = [BenchResult("a/b", "s", [1, 2, 3], [4, 4, 4], "a loop", max_ratio(2)), BenchResult("c", "ms")]
    found = strict_json(json.dumps(as_json(rows, CPU)))
    assert list(found) == ["a/b", "c"]
    versions = found["a/b"].pop("versions")
    assert found["a/b"] == {
        "ours": 2, "reference": 4, "ratio": 0.5, "unit": "s", "device": "cpu", "reference_name": "a loop",
        "spread": {"ours": [1, 3], "reference": [4, 4]}, "goal": "<= 2x", "passed": True, "note": "",
    }  # fmt: skip
    assert versions["torch"] == torch.__version__ and versions["threads"] == torch.get_num_threads()
    assert {"python", "badger", "git_commit", "processor", "cores"} < set(versions)
    assert found["c"]["ours"] is found["c"]["reference"] is found["c"]["ratio"] is found["c"]["passed"] is None


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_runs_at_a_tiny_size(name, monkeypatch):
    """Includes the rows that are otherwise measured on a GPU only."""

    def peak_in_this_process(prepare, warm_up, device):
        warm_up()()
        prepare()()
        return 1.0

    monkeypatch.setattr(measure, "peak_memory", peak_in_this_process)
    for module in (agents, crowd, million):
        monkeypatch.setattr(module, "on_gpu", lambda device, name, unit, goal, measure: measure())
    if name == "recurrent-ppo":
        pytest.importorskip("sb3_contrib")
    rows = list(BENCHMARKS[name](CPU, **TINY[name]))
    assert rows and all(row.name.split("/")[0] == name for row in rows)
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert (row.ours or row.note) and all(
            math.isfinite(x) and (x > 0 or row.unit == "MB") for x in [*row.ours, *row.reference]
        )
        assert row.goal is None or row.passed is not None


def test_a_missing_package_is_named_in_the_note(monkeypatch):
    monkeypatch.setitem(sys.modules, "sb3_contrib", None)
    (row,) = BENCHMARKS["recurrent-ppo"](CPU)
    assert not row.ours and row.note == "not measured: wants sb3-contrib; pip install sb3-contrib gymnasium"


def test_the_price_of_a_memory_is_a_multiple_of_that_of_a_gru():
    rows = [
        BenchResult("memory-price/time-100/dnc", "us a step", [6.0], [2.0]),
        BenchResult("memory-price/memory-100/dnc", "MB", [3.0], [1.0]),
        BenchResult("memory-price/time-400/dnc", "us a step", [8.0], [2.0]),
        BenchResult("memory-price/memory-400/dnc", "MB", [9.0], [2.0]),
    ]
    found = as_json(rows, CPU)
    assert prices(found)["dnc"].bytes_a_step == pytest.approx(20_000)  # 6 MB in 300 steps
    assert prices(found)["gru"].times == [2.0, 2.0]
    assert price_table(found).splitlines()[-1] == "| dnc | 6 | 8 | 3 | 4 | 20 | 6 |"


def test_a_peak_that_does_not_rise_has_no_exponent():
    row = lengths._growth_result("input-length/gru/memory", "MB", "gru", (2, 4), [[0.0], [0.0]], 2)
    assert row.note == "T = 4; growth too small to fit; 2: 0, 4: 0"


def test_the_exponent_is_the_slope_of_the_line_fitted_to_logarithms():
    assert lengths.power([1, 2, 4], [3, 12, 48]) == pytest.approx(2)
    assert lengths.power([1, 2, 4], [1, 4, 4]) == pytest.approx(1)  # by hand: slope of (0, 0), (1, 2), (2, 2)


@pytest.mark.parametrize(
    ("ratios", "length"),
    [
        ([0.5, 0.5, 2], 200),  # halfway between 100 and 400 in logarithms
        ([0.5, 2, 2], 10 * 10**0.5),
        ([2, 0.5, 2], 200),  # noise at short lengths
        ([0.5, 0.6, 0.7], None),
        ([2, 2, 2], None),
        ([0.5, 2, 0.5], None),
    ],
)
def test_the_crossing_is_the_length_from_which_on_the_table_stays_slower(ratios, length):
    assert lengths.crossing([10, 100, 400], ratios) == (length if length is None else pytest.approx(length))


def test_without_a_crossing_the_note_gives_the_range_of_lengths():
    times = {"lookup_table": [[1.0], [2.0]], "neural_memory": [[4.0], [4.0]]}
    row = lengths._crossing_result("long", [10, 20], times)
    assert row.ours == () and row.note.startswith("none within 10 to 20; table / neural, T = 10: 0.25")
    later = lengths._crossing_result("long", [10, 20], times | {"neural_memory": [[4.0], [1.0]]})
    assert later.ours == [pytest.approx(10 * 2 ** (2 / 3))]


def test_lengths_are_measured_until_the_table_is_slower(monkeypatch):
    measured = []

    def quadratic_and_linear(sides, repeats, clock):
        steps = next(iter(sides.values())).args[1]
        measured.append(steps)
        return {"lookup_table": [steps**2.0], "neural_memory": [3.0 * steps]}

    monkeypatch.setattr(measure, "time_interleaved", quadratic_and_linear)
    (row,) = lengths.input_crossing(CPU, lengths=(1, 2, 4, 8))
    assert measured == [1, 2, 4] and row.ours == [pytest.approx(3)]


class StepLoss(Core):
    """A core whose auxiliary loss is the number of the step and whose outputs are zero."""

    input_size, output_size = 2, 1

    def initial_state(self, x):
        return x.new_zeros(len(x))

    def forward(self, x, state, present=None):
        return x.new_zeros(*x.shape[:2], 1), state + 1

    def losses(self, state):
        return {"step": state}


def test_a_training_step_has_the_auxiliary_losses_of_every_step():
    assert lengths._loss(StepLoss(), torch.zeros(3, 2, 1, 2)) == (1 + 2 + 3) / 3


def test_without_names_all_benchmarks_run(monkeypatch):
    monkeypatch.setattr(package, "BENCHMARKS", {n: partial(toy_benchmark, n) for n in ("a", "b")})
    assert [row.name for row in bench([], CPU)] == ["a", "b"]
    assert [row.name for row in bench(["b"], CPU)] == ["b"]


def toy_benchmark(name, device):
    yield BenchResult(name, "s", [1.0], [2.0], "a loop", Goal("< 1x", "ratio", maximum=1))


def my_benchmark(device):
    return toy_benchmark("mine", device)


def test_a_benchmark_of_ones_own_is_run_by_module_and_name():
    assert [row.name for row in bench([f"{__name__}:my_benchmark"], CPU)] == ["mine"]


def test_the_command_prints_the_table_and_writes_json(monkeypatch, tmp_path, capsys):
    monkeypatch.setitem(package.BENCHMARKS, "toy", partial(toy_benchmark, "toy"))
    assert main(["bench", "toy", "--json", str(tmp_path / "out.json")]) == 0
    out = capsys.readouterr().out
    assert "| toy | s | 1 [1, 1] | 2 [2, 2] a loop | 0.5 | < 1x | reached |  |" in out
    assert f"torch {torch.__version__}" in out and "threads 1" in out
    assert strict_json((tmp_path / "out.json").read_text())["toy"]["ratio"] == 0.5


def test_the_command_sets_the_threads(monkeypatch, capsys):
    monkeypatch.setitem(package.BENCHMARKS, "toy", partial(toy_benchmark, "toy"))
    try:
        assert main(["bench", "toy", "--threads", "2"]) == 0
    finally:
        torch.set_num_threads(1)
    assert "threads 2" in capsys.readouterr().out


def test_an_unknown_benchmark_is_refused_with_all_names_before_anything_is_measured(monkeypatch, capsys):
    monkeypatch.setitem(package.BENCHMARKS, "logging", lambda device: pytest.fail("measured"))
    assert main(["bench", "logging", "memory-vs-dens"]) == 2
    message = capsys.readouterr().err
    assert "unknown benchmark 'memory-vs-dens'" in message and "Did you mean 'memory-vs-dense'?" in message
    assert all(name in message for name in BENCHMARKS)


def test_a_missing_device_is_refused(capsys):
    if torch.cuda.is_available():
        pytest.skip("there is one")
    assert main(["bench", "logging", "--device", "cuda"]) == 2
    assert "sees no CUDA device" in capsys.readouterr().err


def test_importing_badger_does_not_load_the_benchmark():
    code = "import sys, badger.__main__; assert 'badger.bench' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_crowd_has_the_topology_that_it_is_given():
    rows = random_regular(12, degree=4)
    assert (FEW.agent(rows).edge_rows(12).senders == rows.senders).all()
    assert len(FEW.agent().edge_rows(12).senders) == 24
