"""Metrics and events of a run, read back by read_metrics and by TensorBoard's own reader."""

import errno
import math
import os
import re
import sys
import time

import pytest
import torch

from badger import build_run, generator, inspect_agent, read_metrics, train
from badger.runs.recorder import MetricsWriter
from badger.runs.tags import metric_tag, score_chart
from tiny_runs import STEPS, At, checkpoints, events, load_trusted, made, scalars, small_disk, strict_json

INSPECTED_STEPS = [15, 30]  # of tiny_runs:tiny
REFERENCES = {"score": {"chance": 0.5, "an oracle": 1.0}}


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    run = made(tmp_path_factory.mktemp("done") / "run")
    train(run)
    return run


@pytest.fixture(scope="module")
def curves(done):
    return scalars(done.folder)


def steps(curve):
    return [step for step, _ in curve]


def row(step, **values):
    return {"step": step, "return": 1.0, **values}


def disk_full(*arguments):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_there_is_a_line_of_metrics_for_each_outer_step(done):
    assert [row["step"] for row in read_metrics(done.folder)] == list(range(1, STEPS + 1))


def test_metrics_are_strict_json(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, {}, tensorboard=False)
    recorder.log_metrics([row(1, loss=math.nan, norm=math.inf, score=0.1)], {})
    recorder.close()
    (line,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert strict_json(line) == {"step": 1, "return": 1.0, "loss": None, "norm": None, "score": 0.1}


def test_an_incomplete_last_line_is_ignored(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 2}\n{"step": 3')
    assert read_metrics(tmp_path) == [{"step": 1}, {"step": 2}]


@pytest.mark.parametrize(
    "line, problem",
    [
        (b"\0\0\0", "a hole"),
        (b"", "a hole"),
        (b'{"step": 2, "lo', "no JSON"),
        (b'{"step": 2}{"step": 2}', "no JSON"),
        (b'{"step": 2, "loss": "\xff\xfe"}', "bytes that are no text"),
        (b"7", "row is 7, want dict"),
        (b"[]", "row is [], want dict"),
        (b'{"loss": 2}', "it has no field row.step"),
        (b'{"step": true}', "row.step is True, want int"),
        (b'{"step": 2, "loss": "high"}', "row.loss is 'high', want float"),
        (b'{"step": 1}', "outer step 1 again, after 1"),
    ],
)
def test_a_damaged_line_of_metrics_is_named_and_the_others_are_read(tmp_path, line, problem):
    (tmp_path / "metrics.jsonl").write_bytes(b'{"step": 1}\n' + line + b'\n{"step": 3}\n')
    with pytest.warns(UserWarning, match=rf"metrics\.jsonl is damaged.* line 2: .*{re.escape(problem)}"):
        assert read_metrics(tmp_path) == [{"step": 1}, {"step": 3}]


def test_missing_lines_of_metrics_are_named(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 1}\n{"step": 4}\n')
    with pytest.warns(UserWarning, match="line 2: outer step 4 follows 1: those in between are missing"):
        assert read_metrics(tmp_path) == [{"step": 1}, {"step": 4}]


def test_a_resumed_run_keeps_the_good_lines_of_damaged_metrics_and_a_copy_of_all(tmp_path):
    run = made(tmp_path / "run")
    train(run, 10, tensorboard=False)
    lines = (run.folder / "metrics.jsonl").read_bytes().splitlines(keepends=True)
    damaged = b"".join([*lines[:3], b"half of a li\n", *lines[4:]])
    (run.folder / "metrics.jsonl").write_bytes(damaged)
    with pytest.warns(UserWarning, match="line 4: no JSON"):
        train(load_trusted(run.folder), 2, tensorboard=False)
    with pytest.warns(UserWarning, match="outer step 5 follows 3"):
        assert [row["step"] for row in read_metrics(run.folder)] == [1, 2, 3, *range(5, 13)]
    (copy,) = run.folder.glob("metrics-damaged-*.jsonl")
    assert copy.read_bytes() == damaged


def test_a_resumed_run_warns_where_its_metrics_are_gone(tmp_path):
    run = made(tmp_path / "run")
    train(run, 5, tensorboard=False)
    (run.folder / "metrics.jsonl").unlink()
    with pytest.warns(UserWarning, match="no rows for outer steps 1 to 5"):
        train(load_trusted(run.folder), 1, tensorboard=False)


def test_a_folder_without_metrics_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=f"{tmp_path} holds no metrics"):
        read_metrics(tmp_path)


def test_opening_at_a_step_deletes_later_rows(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, {}, tensorboard=False)
    recorder.log_metrics([row(i, score=i / 3) for i in range(1, 8)], {})
    recorder.close()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"step": 8, "re')
    kept = read_metrics(tmp_path)[:5]
    recorder = MetricsWriter(tmp_path, 5, {}, tensorboard=False)
    recorder.log_metrics([row(6, score=7.0)], {})
    recorder.close()
    assert read_metrics(tmp_path) == [*kept, row(6, score=7.0)]


def test_flushed_metrics_are_readable_during_the_run(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, {}, tensorboard=False)
    recorder.log_metrics([row(1)], {})
    recorder.flush()
    assert read_metrics(tmp_path) == [row(1)]
    recorder.close()


def test_flushed_events_are_readable_during_the_run(tmp_path, monkeypatch):
    """However slow the disk is, on which a thread of TensorBoard's writes them."""
    from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

    append = LocalFileSystem.append
    monkeypatch.setattr(LocalFileSystem, "append", lambda *arguments: (time.sleep(0.02), append(*arguments)))
    recorder = MetricsWriter(tmp_path, 0, {})
    for step in range(1, 11):
        recorder.log_metrics([row(step, score=1.0)], {})
    recorder.flush()
    assert steps(scalars(tmp_path)["score/train"]) == list(range(1, 11))
    recorder.close()


def test_a_score_is_plotted_with_its_average_and_its_reference_lines(curves, done):
    lines = {"answer_0", "all_outputs_equal", "finite_differences"}
    wanted = {"final_error/train", "final_error/ema", *(f"final_error/reference/{line}" for line in lines)}
    assert wanted <= set(curves)
    references = done.learner.task.references()["final_error"]
    for name, value in references.items():
        points = [point for _, point in curves[f"final_error/reference/{name.replace(' ', '_')}"]]
        assert points == [pytest.approx(value)] * len(points)


@pytest.mark.parametrize(
    "tag, name",
    [
        ("final_error/train", "final_error"), ("error/train", "error"), ("rollout/ep_rew_mean", "return"),
        ("train/loss", "loss"), ("norm/gradient", "gradient_norm"), ("norm/parameter", "parameter_norm"),
    ],
)  # fmt: skip
def test_a_point_is_the_mean_of_the_steps_since_the_last(curves, done, tag, name):
    rows, start = [row[name] for row in read_metrics(done.folder)], 0
    assert steps(curves[tag])[-1] == STEPS
    for step, value in curves[tag]:
        assert value == pytest.approx(sum(rows[start:step]) / (step - start), rel=1e-5)
        start = step


@pytest.mark.parametrize(
    "tag, name",
    [("final_error/ema", "final_error_ema"), ("return/ema", "return_ema"), ("train/learning_rate", "lr")],
)
def test_moving_averages_and_learning_rates_are_plotted_unaveraged(curves, done, tag, name):
    rows = {row["step"]: row[name] for row in read_metrics(done.folder)}
    assert curves[tag] == [(step, pytest.approx(rows[step], rel=1e-5)) for step in steps(curves[tag])]


def test_the_learning_rate_of_a_member_is_plotted_as_it_is(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, {})
    recorder.log_metrics([row(1, **{"lr/seed_3": 1.0}), row(2, **{"lr/seed_3": 3.0})], {})
    recorder.close()
    assert scalars(tmp_path)["train/learning_rate/seed_3"] == [(2, 3.0)]


def test_points_lie_at_logging_steps_and_at_checkpoints(curves):
    assert steps(curves["train/loss"]) == [step for step in range(1, 31) if step % 2 == 0 or step % 5 == 0]


@pytest.mark.parametrize(
    "tag",
    [
        "evaluation/final_error", "inner/error/step_001", "inner/error/step_003", "memory/slots_used",
        "memory/duplicate_rate", "memory/read_entropy", "comms/messages", "comms/floats", "comms/attention_entropy",
        "experts/similarity",
    ],
)  # fmt: skip
def test_inspections_are_plotted_at_their_steps(curves, tag):
    assert steps(curves[tag]) == INSPECTED_STEPS


def test_inspections_use_their_own_random_stream(curves, done):
    """A different stream from those of training and of the final evaluation."""
    numbers = inspect_agent(done.learner.agent, done.learner.task, generator(0, "look", STEPS)).scalars
    for tag, value in numbers.items():
        assert curves[tag][-1] == (STEPS, pytest.approx(value, rel=1e-5)), tag


def test_every_plotted_point_is_finite(curves):
    assert all(math.isfinite(value) for curve in curves.values() for _, value in curve)


def test_the_speed_and_the_length_of_episodes_are_plotted(done):
    found = events(done.folder)
    speeds = [found.Scalars(tag) for tag in ("time/fps", "speed/outer_steps_per_second")]
    for fps, speed in zip(*speeds, strict=True):  # 20 episodes of 3 steps in an outer step
        assert speed.value > 0 and fps.value == pytest.approx(60 * speed.value, rel=1e-5)
    assert {point.value for point in found.Scalars("rollout/ep_len_mean")} == {3.0}


@pytest.mark.parametrize("metric, tag", [
    ("return", "rollout/ep_rew_mean"), ("return/seed_3", "rollout/ep_rew_mean/seed_3"), ("return_ema", "return/ema"),
    ("error/seed_3_ema", "error/ema/seed_3"), ("episodic_length", "rollout/ep_len_mean"),
    ("approx_kl", "train/approx_kl"), ("explained_variance", "train/explained_variance"),
    ("eval/return", "eval/mean_reward"), ("eval/return/seed_3", "eval/mean_reward/seed_3"),
    ("eval/error", "eval/error"), ("normalizer/obs_std", "normalizer/obs_std"),
    ("normalizer/obs_std/seed_3", "normalizer/obs_std/seed_3"), ("read_error", "read_error/train"),
])  # fmt: skip
def test_metrics_have_the_tags_that_people_search_for(metric, tag):
    assert metric_tag(metric) == tag


@pytest.mark.parametrize("tag", ["inner/error", "inner/guesses", "memory/reads", "comms/graph"])
def test_every_inspection_has_figures(done, tag):
    pictures = events(done.folder).Images(tag)
    assert [picture.step for picture in pictures] == INSPECTED_STEPS
    assert all(picture.encoded_image_string.startswith(b"\x89PNG") and picture.width > 100 for picture in pictures)


def test_custom_scalars_lay_out_curves_that_are_there(done, curves):
    import re

    from tensorboard.plugins.custom_scalar.layout_pb2 import Layout

    (written,) = events(done.folder).Tensors("custom_scalars__config__")
    layout = Layout.FromString(written.tensor_proto.string_val[0])
    charts = {c.title: {chart.title: list(chart.multiline.tag) for chart in c.chart} for c in layout.category}
    assert set(charts) == {"outer loop", "inner loop", "memory", "comms", "experts"}
    assert {"final_error/train$", "final_error/ema", "final_error/reference/answer_0"} <= set(
        charts["outer loop"]["final_error"]
    )
    for patterns in (chart for category in charts.values() for chart in category.values()):
        assert all(any(re.fullmatch(pattern, tag) for tag in curves) for pattern in patterns), patterns


def test_training_evaluation_and_references_share_a_chart():
    assert score_chart("return", ["an oracle"], evaluated=True) == [
        "rollout/ep_rew_mean$", "return/ema", "eval/mean_reward", "return/reference/an_oracle",
    ]  # fmt: skip


def test_events_of_a_later_writer_have_a_later_name(tmp_path):
    earlier = tmp_path / f"events.out.tfevents.{int(time.time()):010d}.~"
    earlier.touch()
    MetricsWriter(tmp_path, 0, REFERENCES).close()
    assert max(path.name for path in tmp_path.glob("events.out.tfevents.*")) != earlier.name


def test_a_resumed_curve_has_no_piece_twice(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, REFERENCES)
    for step in (1, 3, 5, 7):
        recorder.log_metrics([row(step, score=1.0), row(step + 1, score=1.0)], {})
    recorder.close()
    recorder = MetricsWriter(tmp_path, 4, REFERENCES)
    for step in (5, 7, 9):
        recorder.log_metrics([row(step, score=2.0), row(step + 1, score=2.0)], {})
    recorder.close()
    assert scalars(tmp_path)["score/train"] == [(2, 1.0), (4, 1.0), (6, 2.0), (8, 2.0), (10, 2.0)]
    assert steps(scalars(tmp_path)["score/reference/an_oracle"]) == [2, 4, 6, 8, 10]


def test_a_run_without_tensorboard_warns_and_continues(tmp_path, monkeypatch):
    for name in [name for name in sys.modules if name.startswith("torch.utils.tensorboard")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    with pytest.warns(UserWarning, match="pip install tensorboard"):
        train(made(tmp_path / "run"), 2)
    assert not list((tmp_path / "run").glob("events.*"))
    assert len(read_metrics(tmp_path / "run")) == load_trusted(tmp_path / "run").step == 2


def test_no_events_are_written_where_none_are_wanted(tmp_path):
    train(made(tmp_path / "run"), 2, tensorboard=False)
    assert not list((tmp_path / "run").glob("events.*"))


def test_metrics_that_cannot_be_written_stop_the_run(tmp_path):
    run = made(tmp_path / "run")
    train(run, 10, tensorboard=False)
    before = checkpoints(run.folder)
    with small_disk((run.folder / "metrics.jsonl").stat().st_size + 100), pytest.raises(OSError) as error:
        train(run, tensorboard=False)
    assert "outer step 12 could not be saved; the previous checkpoint is intact" in str(error.value)
    assert f"badger resume {run.folder}" in str(error.value)
    assert list(checkpoints(run.folder)) == list(before) and load_trusted(run.folder).step == 10


def test_flushing_metrics_to_a_full_disk_raises(tmp_path):
    recorder = MetricsWriter(tmp_path, 0, {}, tensorboard=False)
    os.close(recorder.file)
    recorder.file = os.open("/dev/full", os.O_WRONLY)
    with pytest.raises(OSError, match="No space left"):
        recorder.log_metrics([row(1)], {})
    recorder.close()


def test_training_goes_on_where_events_cannot_be_written(tmp_path, monkeypatch, capfd):
    """TensorBoard writes in a thread of its own, whose errors must neither get lost there nor print a traceback."""
    from tensorboard.compat.tensorflow_stub.io.gfile import LocalFileSystem

    run = made(tmp_path / "run")
    train(run, 10)
    At.change(run, 12, lambda: monkeypatch.setattr(LocalFileSystem, "append", disk_full))
    with pytest.warns(
        UserWarning, match="events cannot be written .* No space left on device. Training goes on"
    ) as caught:
        train(run)
    assert len(caught) == 1
    assert run.step == STEPS and load_trusted(run.folder).step == STEPS
    assert "Traceback" not in capfd.readouterr().err


def test_inspections_support_a_core_without_memory_and_a_silent_bus(tmp_path):
    run = build_run(
        "guessing_game", experts=1, dims=1, steps=2, core="gru", bus="silent", topology="none",
        batch=2, outer_steps=1, device="cpu",
    )  # fmt: skip
    run.folder = tmp_path / "run"
    train(run)
    curves = scalars(run.folder)
    assert curves["comms/messages"] == curves["comms/floats"] == [(1, 0.0)]
    assert not any(tag.startswith("memory/") for tag in curves)
    assert "memory/reads" not in events(run.folder).Tags()["images"]


def test_inspections_do_not_change_training(tmp_path):
    """A run with inspections and one without have equal parameters."""
    looked, blind = made(tmp_path / "a"), made(tmp_path / "b")
    looked.inspect_every, blind.inspect_every = 1, 100
    for run in (looked, blind):
        train(run, 3)
    a, b = (torch.cat([p.flatten() for p in run.learner.agent.parameters()]) for run in (looked, blind))
    assert torch.equal(a, b)


# --- points for the projector


def projected(folder):
    """(step, points, header, labels) of each set of points that TensorBoard's projector finds."""
    from google.protobuf import text_format
    from tensorboard.plugins.projector.projector_config_pb2 import ProjectorConfig

    found = []
    config = text_format.Parse((folder / "projector_config.pbtxt").read_text(), ProjectorConfig())
    for info in config.embeddings:
        points = [[float(x) for x in line.split("\t")] for line in (folder / info.tensor_path).read_text().splitlines()]
        header, *labels = [line.split("\t") for line in (folder / info.metadata_path).read_text().splitlines()]
        found.append((info.tensor_name, torch.tensor(points), header, [[int(x) for x in row] for row in labels]))
    return found


def test_the_experts_last_outputs_are_points_for_the_projector(done):
    ((name, points, header, labels),) = projected(done.folder)
    seen = inspect_agent(done.learner.agent, done.learner.task, generator(0, "look", STEPS)).embeddings
    assert name == f"experts:{STEPS:05d}" and header == ["episode", "expert", "output"]
    assert labels == [[episode, expert, expert] for episode in range(64) for expert in range(2)]
    assert points.shape == (128, 6) and torch.allclose(points, seen.points)


def test_there_are_points_of_the_end_of_a_training_only(tmp_path):
    folder = tmp_path / "run"
    train(made(folder), 20)  # a look at step 15 is not the end
    assert [path.name for path in folder.glob("[0-9]*")] == ["00020"]
    (folder / "00020" / "mine").mkdir()
    train(load_trusted(folder))
    assert [name for name, *_ in projected(folder)] == ["experts:00030"]
    assert sorted(str(path.relative_to(folder)) for path in folder.glob("[0-9]*/*")) == ["00020/mine", "00030/experts"]


def test_no_points_are_written_without_tensorboard(tmp_path):
    train(made(tmp_path / "run"), 2, tensorboard=False)
    assert not list((tmp_path / "run").glob("[0-9]*"))
