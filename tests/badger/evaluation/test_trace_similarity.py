"""What a memory read and wrote, compared between steps: by hand, with words on the axes, of every memory that tells."""

from dataclasses import dataclass

import pytest
import torch

from badger import CORES, GuessingGame, initial_carry, inspect_agent, rollout
from badger.evaluation.trace_similarity import (
    MAX_LABELS,
    MAX_SMALL_LABELS,
    cosine_matrix,
    plot_similarities,
    similarities,
)
from badger.testing.contract import close
from badger.testing.core.cases import noise, run
from experts import EpisodicMemory, LookupTable, Private
from toys import Walk, game, png, seeded, toy_agent

TRACED = [
    "episodic",
    "episodic_shared",
    "episodic_both",
    "episodic_cpc",
    "episodic_reconstruction",
    "episodic_tagged",
]
TRACED += ["lookup_table", "amrl", "gtrxl", "window", "mqn", "rmqn", "frmqn", "neural_map"]
B, N, D, T = 2, 3, 4, 6


def double(*rows):
    return torch.tensor(rows, dtype=torch.double)


def test_similarities_are_cosines_of_a_row_step_with_a_column_step():
    a, b = double([1, 0], [0, 2]), double([3, 0], [1, 1])
    close(cosine_matrix(a, b), double([1, 0.5**0.5], [0, 0.5**0.5]))


def test_a_vector_of_zeros_has_similarity_zero():
    close(cosine_matrix(double([0, 0], [1, 0]), double([1, 0], [0, 0])), double([0, 0], [1, 0]))


def make_trace(steps, heads=1, v=2):
    """Traces of `steps` steps, random, of B episodes and N experts."""
    sizes = {"read": v, "write_key": 3 * heads, "write_value": v * heads}
    seeds = {name: i for i, name in enumerate(sizes)}
    return [{name: noise(B, N, size, seed=10 * t + seeds[name]) for name, size in sizes.items()} for t in range(steps)]


def test_rows_are_reads_and_columns_are_writes_of_the_given_episode_and_expert():
    traces = make_trace(4)
    found = similarities(traces, episode=1, expert=2)
    assert list(found) == ["read values, written values", "written values", "written keys"]
    read, written, key = (torch.stack([t[name][1, 2] for t in traces]) for name in ("read", "write_value", "write_key"))
    for got, (a, b) in zip(found.values(), [(read, written), (written, written), (key, key)], strict=True):
        close(got, cosine_matrix(a, b))
    assert not torch.equal(found["read values, written values"], found["read values, written values"].mT)


def test_a_read_is_compared_with_the_mean_of_the_heads_writes():
    traces = make_trace(4, heads=3)
    read, written = (torch.stack([t[name][0, 0] for t in traces]) for name in ("read", "write_value"))
    means = (written[:, :2] + written[:, 2:4] + written[:, 4:]) / 3
    close(similarities(traces)["read values, written values"], cosine_matrix(read, means))


def test_vectors_of_incompatible_sizes_raise():
    traces = [{"read": noise(1, 1, 2), "write_value": noise(1, 1, 3)}]
    with pytest.raises(ValueError, match="vectors of sizes 2 and 3, want equal sizes"):
        similarities(traces)


def test_a_core_without_vectors_raises():
    agent, task = toy_agent(core="gru"), game()
    frames, _ = rollout(
        agent,
        task,
        initial_carry(agent, task, 2, seeded()),
        seeded(),
        steps=3,
        hook=lambda s: agent.core.read_write_vectors(s.core),
    )
    assert similarities(frames.hook_outputs) == {}
    with pytest.raises(ValueError, match="the core has no read and write vectors"):
        plot_similarities({})


# What memories tell


@pytest.mark.parametrize("private", [False, True], ids=["shared", "private"])
def test_the_vectors_of_an_episodic_memory_are_its_reads_and_writes(private):
    """Also after its window has moved, and where members are absent: by values written and weights of reads."""
    memory = EpisodicMemory(D, lambda size: CORES["gru"](size, 5), slots=12, top_k=3)
    core = (Private(memory) if private else memory).double()
    xs, state, rows = noise(40, B, N, D), None, []
    for t, x in enumerate(xs):
        with torch.set_grad_enabled(t < 20):
            state = core.initial_state(x) if state is None else state
            _, state = core(x, state)
        found = core.read_write_vectors(state)
        assert found["write_value"].shape == (B, N, D + 5) and found["write_key"].shape == (B, N, 16)
        want = torch.zeros(B, N, D + 5).double()
        for b in range(B):
            for n in range(N):
                for at, weight in zip(state.positions[b, n].flatten(), state.weights[b, n].flatten(), strict=True):
                    if at >= 0:
                        want[b, n] += weight * (rows[at][b, n] if private else rows[at // N][b, at % N])
        close(found["read"], want)
        rows.append(found["write_value"].detach())


def test_the_vectors_of_a_lookup_table_are_those_of_its_step():
    core = Private(LookupTable(D, lambda size: CORES["lstm"](size, 5), key_size=3, value_size=2, heads=2)).double()
    _, state = run(core, noise(T, B, N, D))
    sizes = {name: trace.shape for name, trace in core.read_write_vectors(state).items()}
    assert sizes == {"read": (B, N, 2), "write_key": (B, N, 6), "write_value": (B, N, 4)}
    assert core.read_write_vectors(state)["read"].equal(state.read.squeeze(2))


@pytest.mark.parametrize("core", CORES)
def test_an_inspection_plots_the_similarities_of_every_memory_with_vectors(core):
    task = game(steps=3)
    pictures = inspect_agent(toy_agent(task, core=core, experts=2), task, seeded(), 2).plots
    assert ("memory/similarity" in pictures) >= (core in TRACED)
    if core in TRACED:
        png(pictures["memory/similarity"])


# Words


@dataclass(frozen=True)
class Worded(GuessingGame):
    """Says of each step the target of the first episode: as the state that `reset` gave has it."""

    def step_labels(self, state):
        return [f"{self.target(state)[0, 0]:.3f} {t}" for t in range(self.steps)]


def test_step_labels_are_on_both_axes():
    task = Worded(4, 1, dtype=torch.float64)
    agent = toy_agent(task, core="lookup_table")
    words = task.step_labels(initial_carry(agent, task, 2, seeded()).env_state)
    picture = inspect_agent(agent, task, seeded(), 2).plots["memory/similarity"]
    for axes in picture.axes[:3]:
        assert [label.get_text() for label in axes.get_xticklabels()] == words
        assert [label.get_text() for label in axes.get_yticklabels()] == words


def test_only_the_first_episode_is_compared_where_lengths_differ():
    task = Walk(8)
    agent, rng = toy_agent(task, core="lookup_table"), seeded(3)
    frames, _ = rollout(agent, task, initial_carry(agent, task, 3, rng), rng, steps=8)
    first = frames.valid[:, 0].tolist().index(False)
    picture = inspect_agent(agent, task, seeded(3), 3).plots["memory/similarity"]
    assert first == 4 and [axes.images[0].get_array().shape for axes in picture.axes[:3]] == [(first, first)] * 3


@pytest.mark.parametrize("words", [3, MAX_LABELS, MAX_LABELS + 1, MAX_SMALL_LABELS])
def test_steps_without_a_label_are_not_plotted(words):
    picture = plot_similarities({"written keys": torch.eye(MAX_SMALL_LABELS + 5)}, [f"word {t}" for t in range(words)])
    axes = picture.axes[0]
    assert axes.images[0].get_array().shape == (words, words)
    assert [label.get_text() for label in axes.get_xticklabels()] == [f"word {t}" for t in range(words)]
    room = axes.get_window_extent().height / picture.dpi * 72 / words  # points for each
    assert axes.get_yticklabels()[0].get_fontsize() <= room


def test_very_many_steps_have_no_labels():
    many = MAX_SMALL_LABELS + 1
    picture = plot_similarities({"written keys": torch.eye(many)}, ["word"] * many)
    assert "word" not in {label.get_text() for label in picture.axes[0].get_xticklabels()}


def test_tasks_have_no_step_labels_by_default():
    task = game()
    assert task.step_labels(task.reset(2, seeded())[0]) is None
