"""bAbI against its files read line by line; its buckets, and the rewards of answers."""

import pickle
import warnings
from collections import Counter
from dataclasses import replace
from math import log
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, BAbI, build_run, evaluate
from badger.cli.evaluate import print_scores
from tasks import Bucketed, RandomSizes, nominal, task_errors
from tasks.babi import files as babi_files
from tasks.babi import parse as babi_text
from tasks.babi import task as babi
from tasks.babi.parse import WORDS
from tiny_babi import by_hand, write
from toys import game, seeded, toy_agent

NAMES = (*WORDS, "-")
EVERY = range(1, 21)
FILES = {"train": ["train"], "validation": ["valid"], "train+validation": ["train", "valid"], "test": ["test"]}


@pytest.fixture
def root(tiny_data) -> Path:
    """Of the tests' own files."""
    return tiny_data.parent / "babi" / "tasks_1-20_v1-2" / "en-valid-10k"


def story(steps=52, tasks=tuple(EVERY), **options):
    return BAbI(steps, tasks, dtype=torch.float64, **options)


def everything(task):
    return task.reset_to(torch.arange(task.num_episodes), seeded())


def results(task):
    """What each question shows and wants, as words, out of observations and answers."""
    state, step = everything(task)
    seen = torch.stack(task.preview(state, step, task.steps, seeded()), 1)  # (B, T, O)
    rows = [[NAMES[int(word.argmax())] for word in row if word.any()] for row in seen]
    return list(zip(rows, [task.answer(state, row) for row in range(len(rows))], strict=True))


def expected(task):
    """(B, T): the right word where one is due, else -1; worked out question by question."""
    state, _ = everything(task)
    due = torch.full((task.num_episodes, task.steps), -1)
    for row in range(task.num_episodes):
        places = [t for t, word in enumerate(task.step_labels(state, row)) if word == "-"]
        due[row, places] = torch.tensor([WORDS.index(word) for word in task.answer(state, row)])
    return due


def played(task, actions):
    """The steps that follow the actions (T, B, ...), all questions at once."""
    state, _ = everything(task)
    steps = []
    for action in actions:
        state, step = task.step(state, action, seeded())
        steps.append(step)
    return steps


# --- what is shown


@pytest.mark.parametrize("split", FILES)
@pytest.mark.parametrize("tasks", [tuple(EVERY), (8,), (19, 3)])
def test_every_question_has_its_context_and_none_is_missing(split, tasks, root):
    hand = [one for task in tasks for part in FILES[split] for one in by_hand(root / f"qa{task}_{part}.txt")]
    hand.sort(key=lambda one: len(one[0]))
    assert results(story(split=split, tasks=tasks)) == hand


def test_there_are_158_words_in_order_and_a_placeholder_behind_them():
    assert len(set(WORDS)) == 158 and list(WORDS[:156]) == sorted(WORDS[:156]) and WORDS[156:] == (".", "?")
    assert story().obs_size == 159 and story().action_space.size == 158


def test_the_words_of_an_episode_are_those_that_it_shows():
    task = story(split="test")
    state, _ = everything(task)
    for row, (read, _) in enumerate(results(task)):
        assert task.step_labels(state, row) == read and len(read) <= task.steps


def test_an_answer_of_several_words_has_as_many_placeholders():
    read = [(one.count("-"), len(answer)) for one, answer in results(story(tasks=(8, 19)))]
    assert all(placeholders == words for placeholders, words in read) and {words for _, words in read} == {1, 2, 3}


# --- what an answer earns


def test_the_right_words_earn_1_in_all_and_have_no_error():
    task = story(tasks=(1, 8))
    steps = played(task, expected(task).clamp(min=0).T)
    assert_close(sum(step.reward for step in steps), torch.ones(task.num_episodes, dtype=torch.float64))
    assert task_errors(evaluated(steps)) == {"error_task_1": 0, "error_task_8": 0, "mean": 0, "failed": 0}


def evaluated(steps):
    names = steps[0].scores
    return {name: torch.stack([step.scores[name] for step in steps]).nanmean(0) for name in names}


def test_one_wrong_word_makes_the_answer_wrong():
    task = story(tasks=(8,))
    due = expected(task)
    rows = [row for row in range(task.num_episodes) if (due[row] >= 0).sum() == 3]
    for place in range(3):
        actions = due.clone()
        for row in rows:
            first = int((due[row] >= 0).nonzero()[place])
            actions[row, first] = (due[row, first] + 1) % 158
        steps = played(task, actions.clamp(min=0).T)
        assert rows and evaluated(steps)["error"].nonzero().squeeze(-1).tolist() == rows
        assert_close(sum(step.reward for step in steps)[rows], torch.full((len(rows),), 2 / 3, dtype=torch.float64))


def test_logits_earn_the_mean_log_probability_of_the_words_of_the_answer():
    task = story(tasks=(8, 2))
    logits = torch.randn(task.steps, task.num_episodes, 158, generator=seeded(1), dtype=torch.float64)
    steps, due = played(task, logits), expected(task)
    table = logits.numpy()
    table = table - np.log(np.exp(table).sum(-1, keepdims=True))
    for row in range(task.num_episodes):
        places = (due[row] >= 0).nonzero().squeeze(-1).tolist()
        given = [table[t, row, due[row, t]] for t in places]
        for t, step in enumerate(steps):
            assert step.reward[row].item() == pytest.approx(given[places.index(t)] / len(given) if t in places else 0)
        assert evaluated(steps)["cross_entropy"][row].item() == pytest.approx(-np.mean(given))
        right = all(table[t, row].argmax() == due[row, t] for t in places)
        assert evaluated(steps)["error"][row].item() == 1 - right


def test_the_error_is_scored_at_the_last_word_under_its_task():
    task = story(tasks=(1, 8, 19))
    steps, due = played(task, torch.zeros(task.steps, task.num_episodes, dtype=torch.long)), expected(task)
    state, _ = everything(task)
    own = task._questions(torch.device("cpu")).tasks[state.question]
    for t, step in enumerate(steps):
        last = (due[:, t] >= 0) & ~(due[:, t + 1 :] >= 0).any(-1)
        assert torch.equal(~step.scores["error"].isnan(), last)
        for number in task.tasks:
            assert torch.equal(~step.scores[f"error_task_{number}"].isnan(), last & (own == number))
    assert set(own.tolist()) == {1, 8, 19}


def test_what_comes_behind_the_question_changes_nothing():
    short, long = (story(steps, tasks=(1, 8)) for steps in (52, 60))
    agent = toy_agent(short, core="lstm", bus="silent", topology="none", experts=1)
    one, other = (evaluate(agent, task, None, seeded()) for task in (short, long))
    assert one.keys() == other.keys()
    for name in one:
        assert_close(one[name], other[name], equal_nan=True)


def test_the_gradient_is_that_of_the_words_alone():
    """Actions before and behind the answer are not paid for."""
    task = story(tasks=(8,))
    logits = torch.randn(
        task.steps, task.num_episodes, 158, generator=seeded(1), dtype=torch.float64, requires_grad=True
    )
    sum(step.reward.sum() for step in played(task, logits)).backward()
    assert torch.equal(logits.grad.any(-1).T, expected(task) >= 0)


# --- which questions there are


@pytest.mark.parametrize("split", ["train", "test"])
def test_buckets_partition_the_questions_in_order(split, monkeypatch):
    monkeypatch.setattr(babi, "MIN_BUCKET", 5)
    task = story(split=split)
    assert len(task.buckets) > 3
    assert [one for part in task.buckets for one in results(part)] == results(task)
    for part, longer in zip(task.buckets, [*task.buckets[1:], None], strict=True):
        lengths = [len(read) for read, _ in results(part)]
        assert part.steps == max(lengths) and part.buckets == [part]
        assert min(lengths) >= int(part.steps / 1.25) or len(lengths) <= 2 * 5
        assert longer is None or longer.min_words >= part.steps


def test_a_part_has_some_questions_at_least_where_lengths_are_rare(monkeypatch):
    monkeypatch.setattr(babi, "MIN_BUCKET", 60)
    sizes = [part.num_episodes for part in story().buckets]
    assert len(sizes) > 1 and all(size >= 60 for size in sizes[1:])


def test_an_evaluation_of_all_gives_each_question_its_scores_in_order(monkeypatch):
    monkeypatch.setattr(babi, "MIN_BUCKET", 5)
    task, guess = story(tasks=(1, 4, 8), split="train+validation"), WORDS.index("kitchen")
    agent = toy_agent(task, core="lstm", bus="silent", topology="none", experts=1)
    batches = []

    def policy(output, mask, state, rng):
        batches.append(len(output))
        return output.argmax(-1) * 0 + guess, state

    scores = evaluate(agent, task, None, seeded(), policy=policy)
    assert len(task.buckets) > 2 and sum(batches) == sum(part.steps * part.num_episodes for part in task.buckets)
    assert scores["error"].tolist() == [float(set(answer) != {"kitchen"}) for _, answer in results(task)]
    assert all(score.shape == (task.num_episodes,) for score in scores.values())


def test_bucketed_training_samples_all_questions_equally(monkeypatch):
    monkeypatch.setattr(babi, "MIN_BUCKET", 5)
    task, rng = story(tasks=(1, 2), split="test"), seeded()
    parts, met = Bucketed(task), Counter()
    for _ in range(500):
        state, _ = parts.sample(rng).reset(8, rng)
        met.update(state.question.tolist())
    often = np.array([met[question] for question in range(task.num_episodes)]) / 4000 * task.num_episodes
    assert abs(often - 1).max() < 0.35 and nominal(parts) == task


def test_buckets_follow_a_curriculum(monkeypatch):
    monkeypatch.setattr(babi, "MIN_BUCKET", 5)
    task, rng = story(steps=60, tasks=(1, 2), split="test", max_words=60), seeded()
    short = min(part.steps for part in task.buckets)
    growing = Bucketed(RandomSizes(task, {"steps": (short, 60)}).increasing_curriculum(2, 62))
    assert {growing.sample(rng, step).steps for step in (0, 1) for _ in range(20)} == {short}
    assert {growing.sample(rng, 62).steps for _ in range(200)} == {part.steps for part in task.buckets}
    assert nominal(growing) == task


def test_the_recipe_has_a_curriculum_of_story_lengths():
    learner = build_run(
        "babi", tasks=(1,), max_words=(20, 60), curriculum_steps=(3, 43), **{"core.hidden_size": 4, "core.width": 4}
    ).learner
    learner.step = 1
    task, _ = learner.sample_task_and_experts()
    assert task.steps <= 20 and task.max_words == 60 == learner.task.steps


def test_buckets_need_a_finite_task():
    assert game().buckets == [game()]
    with pytest.raises(ValueError, match="task=GuessingGame is not finite, want a task with num_episodes and buckets"):
        Bucketed(game()).sample(seeded())


def test_an_agent_learns_from_buckets():
    task = story(tasks=(1,), split="validation")
    learner = BPTT(
        toy_agent(task, experts=1, bus="silent", topology="none", core="lstm"), Bucketed(task), batch=8, lr=5e-2
    )
    losses = [learner.update()["loss"].item() for _ in range(12)]
    assert losses[-1] < 0.7 * losses[0] and losses[0] == pytest.approx(log(158), rel=0.1)


def test_an_agent_is_judged_by_questions_that_it_was_not_trained_on():
    for trained, judged in (("train", "validation"), ("train+validation", "test"), ("validation", "validation")):
        assert story(split=trained).evaluation_task == story(split=judged)


def test_longer_questions_are_skipped_with_one_warning(tmp_path, root):
    write(tmp_path)
    lengths = [(task, len(read)) for task in (1, 2) for read, _ in by_hand(root / f"qa{task}_train.txt")]
    task = story(20, tasks=(1, 2), data_dir=tmp_path)
    over = {number: sum(1 for one, length in lengths if one == number and length > 20) for number in (1, 2)}
    assert task.num_skipped == over and task.num_episodes == len(lengths) - sum(over.values())
    message = f"{sum(over.values())} questions of split='train' have more than steps=20 words and are skipped: "
    with pytest.warns(UserWarning, match=message + f"{over[1]} of task 1, {over[2]} of task 2"):
        task.reset(2, seeded())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        task.reset(2, seeded())
        for part in task.buckets:
            part.reset(2, seeded())
            assert part.num_skipped == over


def test_numbers_of_questions_end_where_they_end():
    task = story(tasks=(5,))
    for index in (torch.tensor([-1]), torch.tensor([task.num_episodes])):
        with pytest.raises(IndexError, match=f"index from {index[0]} to {index[0]}, want numbers from 0 to"):
            task.reset_to(index, seeded())


# --- lines to judge by


def test_the_references_are_chance_and_the_commonest_answer_of_each_task():
    task = story(tasks=(1, 8), split="train+validation")
    answers = {number: [tuple(a) for _, a in results(replace(task, tasks=(number,)))] for number in (1, 8)}
    right = {number: Counter(found).most_common(1)[0][1] for number, found in answers.items()}
    total = len(answers[1]) + len(answers[8])
    chance = sum((1 / 158) ** len(answer) for found in answers.values() for answer in found) / total
    lines = task.references()
    assert lines.pop("cross_entropy") == {"chance": pytest.approx(log(158))}
    common = {"chance": 1 - chance, "commonest answer of each task": 1 - sum(right.values()) / total}
    assert lines.pop("error") == pytest.approx(common)
    assert lines == {
        f"error_task_{number}": {"commonest answer": pytest.approx(1 - right[number] / len(answers[number]))}
        for number in (1, 8)
    }


def test_task_errors_are_means_over_tasks_without_the_excluded_ones():
    nan = torch.nan
    scores = {
        "error": torch.tensor([1.0, 0.0, 0.0, 1.0, 0.0]),
        "error_task_1": torch.tensor([1.0, 0.0, 0.0, nan, nan]),
        "error_task_3": torch.tensor([nan, nan, nan, 1.0, nan]),
        "error_task_4": torch.tensor([nan, nan, nan, nan, 0.0]),
        "error_task_5": torch.full((5,), nan),
    }
    each = {"error_task_1": pytest.approx(1 / 3), "error_task_3": 1, "error_task_4": 0}
    assert task_errors(scores) == each | {"mean": pytest.approx(4 / 9), "failed": 2}
    assert task_errors(scores, exclude=[3]) == each | {"mean": pytest.approx(1 / 6), "failed": 1}
    with pytest.raises(ValueError, match=r"exclude=\[1, 3, 4\], want at least one other task"):
        task_errors(scores, exclude=(1, 3, 4))


def test_the_command_line_reports_each_task_over_its_own_questions(capsys):
    print_scores({"error_task_3": torch.tensor([torch.nan, 1.0, 0.0, torch.nan])}, {}, "deterministic")
    assert capsys.readouterr().out == "error_task_3    0.5000 +- 0.5000 over 2 episodes, deterministic\n"


# --- the dataclass


def test_a_task_is_made_compared_and_copied_without_data(monkeypatch, tmp_path):
    monkeypatch.setenv("BADGER_DATA", str(tmp_path / "nothing"))
    task = BAbI(data_dir=str(tmp_path), tasks=(1, 2))
    assert task == pickle.loads(pickle.dumps(task)) != BAbI(tasks=(1, 2))
    assert len({task, replace(task, steps=7), BAbI(data_dir=str(tmp_path), tasks=(1, 2))}) == 2
    assert Bucketed(task).nominal == task


def test_a_file_is_read_once(monkeypatch, tmp_path):
    write(tmp_path, tasks=(1, 2))
    reads, read = [], babi_text.parse_stories
    monkeypatch.setattr(
        babi_files, "parse_stories", lambda text, name: reads.append(Path(name).name) or read(text, name)
    )
    for task in (story(data_dir=tmp_path, tasks=(1, 2)), story(50, data_dir=tmp_path, tasks=(1, 2))):
        everything(task)
        task.references()
        assert task.buckets
    assert reads == ["qa1_train.txt", "qa2_train.txt"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tasks": (0, 1)}, r"tasks=\(0, 1\), want some of the numbers from 1 to 20, each at most once"),
        ({"tasks": (21,)}, r"tasks=\(21,\), want some of the numbers"),
        ({"tasks": ()}, r"tasks=\(\), want some of the numbers"),
        ({"tasks": (2, 2)}, r"tasks=\(2, 2\), want some of the numbers"),
        ({"steps": 0}, "steps=0, want at least 1"),
        ({"split": "valid"}, r"split='valid', want one of: train, validation, train\+validation, test"),
    ],
)
def test_invalid_options_are_refused(options, message):
    with pytest.raises(ValueError, match=message):
        BAbI(**options)


def test_a_limit_under_which_no_question_is_left_is_refused():
    with pytest.raises(ValueError, match=r"steps=3 \(min_words=0\): no question of tasks=\(1,\), split='train' has"):
        story(3, tasks=(1,)).reset(2, seeded())
