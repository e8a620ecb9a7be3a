"""Sequence tasks: solvers that use observations only answer correctly, and samples have the documented distribution."""

from collections import Counter
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, AssociativeRecall, Copy, DictionaryInference, DoubleCopy, Population, PrioritySort, build_run
from badger.testing import check_task
from badger.testing.task.cases import numbers, play, seeded
from tasks import Discrete, MultiDiscrete, NthFarthest, Pathfinding, RandomSizes, SequenceTask
from tasks.sequence.dictionary_inference import END, EOS, SEP, TOKENS
from tasks.task import reward_and_correct
from toys import toy_agent

F64 = torch.float64


# --- solvers: of what was seen until now, (t + 1, O), the answer to the last


def translated(seen):
    names = [TOKENS[row.argmax()] for row in seen]
    if names[-1] != "?":
        return 0
    dictionary, now = {}, []
    examples, query = " ".join(names).split(" END ")
    for example in examples.split(" SEP")[:-1]:
        source, target = example.split("EOS")
        for letter, meaning in zip(source.split(), target.split(), strict=True):
            assert dictionary.setdefault(letter, meaning) == meaning
    assert len(set(dictionary.values())) == len(dictionary) and not dictionary.keys() & set(dictionary.values())
    letters, now = query.split(" EOS ")
    return TOKENS.index(dictionary[letters.split()[len(now.split()) - 1]])


def copied(seen):
    symbols = [row[:-1].argmax() for row in seen if not row[-1]]
    return symbols[(len(seen) - len(symbols) - 1) % len(symbols)] if seen[-1][-1] else 0


def sorted_(seen):
    vectors = [row[:-1] for row in seen if not row[-1]]
    due = len(seen) - len(vectors) - 1
    best = sorted(vectors, key=lambda row: -row[-1])  # sorted leaves those that are equal in their order
    return best[max(due, 0)][:-1].astype(int)


def associated(seen):
    lists, bits = [], seen.shape[1] - 3
    for row in seen:
        item, query, recall = row[bits:]
        if item or query:
            lists.append([])
        elif not recall:
            lists[-1].append(tuple(row[:bits].astype(int)))
    *items, query = lists
    due = int(seen[:, -1].sum()) - 1
    return items[items.index(query) + 1][due] if due >= 0 else (0,) * bits


def ranked(seen, vectors=4):
    size = seen.shape[1] - 3 * vectors
    label, rank, reference = (part.argmax(-1) for part in np.split(seen[:, size:], 3, axis=1))
    if len(seen) < vectors:
        return 0
    by_label = {int(one): row[:size] for one, row in zip(label, seen, strict=True)}
    asked = by_label[int(reference[0])]
    return sorted(by_label, key=lambda one: -np.linalg.norm(by_label[one] - asked))[rank[0]]


def connected(seen):
    half, links = seen.shape[1] // 2, []
    for row in seen:
        first, second = tuple(row[:half]), tuple(row[half : 2 * half])
        if not row[-1]:
            links.append((first, second))
    reached = {first}
    for _ in links:
        reached |= {end for start, end in links if start in reached}
    return int(bool(row[-1]) and second in reached)


SOLVED = [
    (DictionaryInference(), translated),
    (DictionaryInference(1, 1), translated),
    (DictionaryInference(8, 4), translated),
    (DictionaryInference(2, 9), translated),
    (Copy(), copied),
    (Copy(3, symbols=1), copied),
    (Copy(4, 3, repeats=3), copied),
    (DoubleCopy(5), copied),
    (PrioritySort(), sorted_),
    (PrioritySort(4, 4, bits=3), sorted_),
    (PrioritySort(60, 60, 2, dtype=torch.float16), sorted_),  # so coarse that some priorities are the same
    (AssociativeRecall(), associated),
    (AssociativeRecall(5, 2, bits=1), associated),  # so small that items return
    (AssociativeRecall(2), associated),
    (NthFarthest(4, 3, dtype=F64), ranked),
    (Pathfinding(), connected),
    (Pathfinding(2), connected),
]
IDS = [repr(task) for task, _ in SOLVED]


def seen(task, batch, seed=0):
    """(B, T, O)."""
    state, step = task.reset(batch, seeded(seed))
    return torch.stack(task.preview(state, step, task.steps, seeded()), 1)


def tokens(task, batch, seed=0):
    return seen(task, batch, seed).argmax(-1)


def answered(task, solver, batch=8):
    """Integers (B, ...) for each step."""
    rows = seen(task, batch).numpy()
    answers = [[solver(row[: t + 1]) for row in rows] for t in range(task.steps)]
    return [torch.as_tensor(np.array(each)) for each in answers]


@pytest.mark.parametrize(("task", "solver"), SOLVED, ids=IDS)
def test_who_reads_what_is_seen_can_answer_right(task, solver):
    steps = [step for _, step in play(task, answered(task, solver))[1:]]
    assert_close(sum(step.reward.double() for step in steps), torch.ones(8, dtype=F64), atol=1e-2, rtol=0)
    errors = torch.stack([step.scores["error"] for step in steps])
    assert not errors.nansum() and not errors.isnan().all() and (steps[-1].scores["solved"] == 1).all()


@pytest.mark.parametrize(("task", "solver"), SOLVED[:1] + SOLVED[4:5] + SOLVED[8:9] + SOLVED[11:12])
def test_one_wrong_answer_is_one_part_of_the_error_and_not_solved(task, solver):
    task = replace(task, dtype=F64)
    answers = answered(task, solver)
    due = int((~torch.stack([s.scores["error"] for _, s in play(task, answers)]).isnan()).sum(0)[0])
    wrong = answers[-due][0]  # of the first episode, the first answer
    part = wrong.numel()
    (wrong if part == 1 else wrong[:1]).sub_(1).remainder_(2 if part > 1 else task.action_space.n)
    steps = [step for _, step in play(task, answers)[1:]]
    errors = torch.stack([step.scores["error"] for step in steps])
    assert_close(errors.nansum(0), torch.tensor([1 / part] + [0.0] * 7, dtype=F64))
    assert_close(sum(step.reward for step in steps), 1 - errors.nansum(0) / due)
    assert steps[-1].scores["solved"].tolist() == [0] + [1] * 7
    assert all(step.scores["solved"].isnan().all() for step in steps[:-1])


# --- what all of them have from Sequences


@dataclass(frozen=True)
class Asked(SequenceTask):
    """Tokens of which those above 2 ask for their half, where an answer is three choices: for all its digits."""

    wide: bool = False

    def __post_init__(self):
        self._set_steps(6)

    obs_size: ClassVar[int] = 7

    @property
    def action_space(self):
        return MultiDiscrete((2, 4, 3)) if self.wide else Discrete(4)

    def _sample(self, batch, rng):
        shown = torch.randint(7, (batch, 6), generator=rng, device=rng.device)
        shown[:, -1] = 5
        half = torch.where(shown > 2, shown // 2, -1)
        digits = torch.stack([(shown > 4).long(), shown // 2, shown % 3], -1)
        return shown, torch.where(shown.unsqueeze(-1) > 2, digits, -1) if self.wide else half

    def _reference_accuracy(self):
        return {"chance": 1 / 4}


@pytest.mark.parametrize("wide", [False, True])
def test_a_sequence_with_answers_at_any_step_passes_the_contract(wide):
    check_task(lambda **options: Asked(wide, **options))


def test_the_return_is_the_mean_over_the_answers_of_the_episode():
    task = Asked(dtype=F64)
    logits = [numbers(task, seed=t, batch=20) for t in range(6)]
    results = play(task, logits)
    total = sum(step.reward for _, step in results)
    counts = set()
    for row, symbols in enumerate(results[0][0].inputs.tolist()):
        due = [logits[t][row].log_softmax(-1)[symbol // 2] for t, symbol in enumerate(symbols) if symbol > 2]
        counts.add(len(due))
        assert_close(total[row], torch.stack(due).mean())
    assert len(counts) > 2


def test_episodes_that_began_apart_are_read_ahead_each_from_where_it_is():
    task = Copy(6, dtype=F64)
    rng, act = seeded(), torch.zeros(4, dtype=torch.long)
    state, step = play(task, [act] * 5)[-1]
    state, _ = task.restart(state, torch.tensor([True, False, True, False]), rng)
    state, step = task.step(state, act, rng)
    for obs in task.preview(state, step, 20, rng):  # also beyond the end
        assert torch.equal(obs, step.obs)
        state, step = task.step(state, act, rng)


@pytest.mark.parametrize(
    ("task", "sizes", "steps"),
    [
        (DictionaryInference(), {"pairs": 8, "length": 4}, 90),
        (Copy(), {"length": 7, "repeats": 3}, 28),
        (PrioritySort(), {"vectors": 30}, 46),
        (AssociativeRecall(), {"items": 2}, 15),
    ],
)
def test_an_episode_is_as_long_as_its_sizes_make_it(task, sizes, steps):
    changed = replace(task, **sizes)
    assert changed.steps == steps and seen(changed, 2).shape[1] == steps
    with pytest.raises(ValueError, match=f"has no field 'steps', want some of: dtype, {next(iter(sizes))}"):
        RandomSizes(task, {"steps": (3, 4)})


def test_sizes_can_be_sampled():
    tasks, rng = RandomSizes(DictionaryInference(), {"pairs": (2, 4), "length": (1, 3)}), seeded()
    drawn = {(task.pairs, task.length, task.steps) for task in (tasks.sample(rng) for _ in range(200))}
    assert drawn == {(k, n, 2 * (k + 1) * (n + 1)) for k in (2, 3, 4) for n in (1, 2, 3)}


def test_a_recipe_can_start_with_the_smallest_sizes():
    tiny = {"core": "lstm", "core.hidden_size": 4, "batch": 2, "curriculum_steps": (5, 20)}
    learner, rng = build_run("dictionary_inference", pairs=(2, 3), length=(1, 4), **tiny).learner, seeded()
    assert learner.task == learner.tasks.sample(rng, 20) == DictionaryInference(3, 4)
    assert learner.tasks.sample(rng, 4) == DictionaryInference(2, 1)
    assert len({learner.tasks.sample(rng, 19) for _ in range(200)}) == 8


@pytest.mark.parametrize("task", [DictionaryInference(2, 1), Copy(2, 3), PrioritySort(3, 2, 2)])
def test_a_population_samples_the_same_tasks_as_a_single_learner(task):
    task = replace(task, dtype=F64)
    made = [[BPTT(toy_agent(task, bus="silent", seed=s), task, batch=3, seed=s) for s in (1, 2)] for _ in range(2)]
    together, singles = Population(made[0]).update(), [one.update() for one in made[1]]
    for seed, alone in zip((1, 2), singles, strict=True):
        assert_close(together[f"loss/seed_{seed}"], alone["loss"])
        assert_close(together[f"error/seed_{seed}"], alone["error"])


# --- several choices at once


def test_several_choices_earn_the_mean_of_their_log_probabilities():
    odds = [torch.tensor(each, dtype=F64).log() for each in ([0.9, 0.1], [0.2, 0.5, 0.3], [0.25] * 4)]
    reward, right = reward_and_correct(torch.cat(odds).unsqueeze(0) + 3, torch.tensor([[0, 2, 1]]), F64, (2, 3, 4))
    assert_close(reward, torch.tensor([0.9 * 0.3 * 0.25], dtype=F64).log() / 3)
    assert_close(right, torch.tensor([1 / 3], dtype=F64))


@pytest.mark.parametrize("ns", [(3, 3), (2, 5, 3)])
def test_several_choices_are_judged_as_each_alone(ns):
    expected = torch.stack([torch.randint(n, (9,), generator=seeded(n)) for n in ns], -1)
    for given in (torch.randn(9, sum(ns), generator=seeded(), dtype=F64), expected.clone().random_(2)):
        parts = given.split(ns, -1) if given.is_floating_point() else given.unbind(-1)
        each = [reward_and_correct(part, expected[:, i], F64) for i, part in enumerate(parts)]
        for ours, theirs in zip(reward_and_correct(given, expected, F64, ns), zip(*each, strict=True), strict=True):
            assert_close(ours, sum(theirs) / len(ns))


def test_choices_of_different_sizes_have_finite_slopes():
    logits = torch.randn(4, 5, dtype=F64, generator=seeded()).requires_grad_()
    reward_and_correct(logits, torch.zeros(4, 2, dtype=torch.long), F64, (2, 3))[0].sum().backward()
    assert logits.grad.isfinite().all() and logits.grad.all()


# --- dictionary inference


def test_the_four_levels_are_those_of_the_paper():
    levels = [DictionaryInference.level(n) for n in (1, 2, 3, 4)]
    sizes = [(task.pairs, task.length, task.steps) for task in levels]
    assert sizes == [(4, 1, 20), (8, 4, 90), (12, 8, 234), (16, 12, 442)]
    assert {(task.obs_size, task.action_space.n) for task in levels} == {(30, 30)}
    assert DictionaryInference.level(2, dtype=F64) == DictionaryInference(8, 4, dtype=F64)


def test_examples_query_and_placeholders_have_the_order_of_the_paper():
    named = [" ".join("x" if t < 26 else TOKENS[t] for t in row) for row in tokens(DictionaryInference(2, 3), 5)]
    example = "x x x EOS x x x SEP"
    assert set(named) == {f"{example} {example} END x x x EOS ? ? ?"}
    assert (EOS, SEP, END) == (26, 27, 28) and len(TOKENS) == 30


def results(task, batch):
    """Source and target letters of the examples (B, k, l), letters of the query (B, l)."""
    k, n = task.pairs, task.length
    rows = tokens(task, batch)
    examples = rows[:, : k * 2 * (n + 1)].view(batch, k, 2, n + 1)[..., :n]
    return examples[:, :, 0], examples[:, :, 1], rows[:, -2 * n - 1 : -n - 1]


def test_all_letters_are_equally_likely_on_both_sides():
    for letters in results(DictionaryInference(3, 2), 20_000):
        often = letters.flatten().bincount(minlength=26) / letters.numel()
        assert_close(often, torch.full((26,), 1 / 26), atol=0.003, rtol=0)  # some 5 standard deviations


def test_translations_are_uniformly_distributed():
    source, target, _ = results(DictionaryInference(1, 1), 40_000)
    means = torch.zeros(26, 26).index_put((source.flatten(), target.flatten()), torch.ones(()), accumulate=True)
    assert not means.diagonal().any()
    assert_close(means / 40_000 * 650, 1 - torch.eye(26), atol=0.65, rtol=0)  # 5 standard deviations of 62 +- 8


def test_letters_are_sampled_with_replacement():
    source, _, _ = results(DictionaryInference(2, 1), 20_000)
    assert (source[:, 0] == source[:, 1]).float().mean().item() == pytest.approx(1 / 13, abs=0.01)


def test_query_letters_are_uniform_over_those_in_the_examples():
    source, _, query = results(DictionaryInference(1, 3), 20_000)
    a, b, c = source[:, 0].unbind(-1)
    twice = (a == b) & (b != c)
    asked = query[twice] == a[twice].unsqueeze(-1)
    assert asked.numel() > 3000 and asked.float().mean().item() == pytest.approx(1 / 2, abs=0.04)
    assert (query[:, 0] == query[:, 1]).float().mean() > 1 / 3  # with replacement


def test_who_knows_the_letters_but_not_the_pairs_is_wrong_as_often_as_the_reference_says():
    assert DictionaryInference(2, 1).references()["accuracy"] == {
        "chance": 1 / 30, "letters without pairs": pytest.approx(1 / 13 + 12 / 13 / 2), "perfect memory": 1.0
    }  # fmt: skip
    source, _, _ = results(DictionaryInference(4, 2), 5000)
    different = [len(set(row)) for row in source.flatten(1).tolist()]
    line = DictionaryInference(4, 2).references()["error"]["letters without pairs"]
    assert line == pytest.approx(1 - np.mean(1 / np.array(different)), abs=0.005)


# --- the others


def test_symbols_to_be_copied_are_equally_likely():
    often = Counter(tokens(Copy(10, 4), 2000)[:, :10].flatten().tolist())
    assert sorted(often) == [0, 1, 2, 3] and max(abs(n / 20_000 - 1 / 4) for n in often.values()) < 0.015


def test_double_copy_is_copy_with_two_repeats():
    assert DoubleCopy(50) == Copy(50, symbols=10, repeats=2) and DoubleCopy(50).steps == 150


def test_priorities_and_bits_are_uniform():
    rows = seen(PrioritySort(dtype=F64), 3000)[:, :20]
    priority = rows[..., -2]
    for moment, value in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
        assert priority.pow(moment).mean().item() == pytest.approx(value, abs=0.015)
    assert_close(rows[..., :8].mean((0, 1)), torch.full((8,), 0.5, dtype=F64), atol=0.015, rtol=0)


def test_who_knows_the_bits_but_not_their_order_is_wrong_as_often_as_the_reference_says():
    task = PrioritySort(7, 5, 4, dtype=F64)
    most = (seen(task, 4000)[:, :7, :4].mean(1) > 0.5).long()
    steps = [step for _, step in play(task, [most] * task.steps)]
    error = torch.stack([step.scores["error"] for step in steps]).nanmean()
    assert error.item() == pytest.approx(task.references()["error"]["bits without order"], abs=0.01)


def test_queries_are_uniform_over_all_items_but_the_last():
    task = AssociativeRecall(4, 1, 20)
    rows = seen(task, 3000)
    items, query = rows[:, 1:8:2, :20], rows[:, 9, :20]
    asked = (items == query.unsqueeze(1)).all(-1)
    assert_close(asked.float().mean(0), torch.tensor([1 / 3, 1 / 3, 1 / 3, 0]), atol=0.05, rtol=0)


@pytest.mark.parametrize(
    ("make", "error"),
    [
        (lambda: DictionaryInference(0), "pairs=0, want at least 1"),
        (lambda: DictionaryInference(2, 0), "length=0, want at least 1"),
        (
            lambda: DictionaryInference.level(0),
            r"number=0, want a level from 1 to 4; other sizes: DictionaryInference\(8, 4\)",
        ),
        (lambda: DictionaryInference.level(5), "number=5, want a level from 1 to 4"),
        (lambda: Copy(0), "length=0, want at least 1"),
        (lambda: Copy(symbols=0), "symbols=0, want at least 1"),
        (lambda: Copy(repeats=0), "repeats=0, want at least 1"),
        (lambda: PrioritySort(vectors=0, answers=0), "vectors=0, want at least 1"),
        (lambda: PrioritySort(answers=0), "answers=0, want at least 1"),
        (lambda: PrioritySort(bits=0), "bits=0, want at least 1"),
        (lambda: PrioritySort(answers=21), "answers=21 of vectors=20, want answers <= vectors"),
        (lambda: AssociativeRecall(1), "items=1, want at least 2, as the answer is the item after another one"),
        (lambda: AssociativeRecall(vectors=0), "vectors=0, want at least 1"),
        (lambda: AssociativeRecall(bits=0), "bits=0, want at least 1"),
        (lambda: NthFarthest(0), "vectors=0, want at least 1"),
        (lambda: Pathfinding(1), "nodes=1, want at least 2, which a link needs"),
    ],
)
def test_sizes_that_leave_nothing_to_do_are_refused(make, error):
    with pytest.raises(ValueError, match=error):
        make()


def test_both_answers_about_paths_are_equally_likely_and_links_form_a_tree():
    task = Pathfinding(5)
    state, _ = task.reset(2000, seeded())
    answers = state.targets[:, 1::2]
    assert ((answers == 1).double().mean(0) - 0.5).abs().max() < 0.05
    links = state.inputs[:, ::2, :10].unflatten(-1, (2, 5))  # 4 links of 2 patterns
    for episode in links[:5]:
        assert len({tuple(pattern.tolist()) for pattern in episode.flatten(0, 1)}) == 5


def test_each_rank_and_each_vector_is_asked_for_equally_often():
    task = NthFarthest(4, 2)
    state, _ = task.reset(4000, seeded())
    rank, reference = state.inputs[:, 0, 6:].split(4, -1)
    for part in (rank, reference):
        assert (part.mean(0) - 0.25).abs().max() < 0.03
    assert (torch.bincount(state.targets[:, -1], minlength=4) / 4000 - 0.25).abs().max() < 0.03
