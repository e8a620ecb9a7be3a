"""Question answering of bAbI, word by word: 20 tasks of reasoning over short stories."""

import warnings
from bisect import bisect_right
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from tasks.babi.baselines import references
from tasks.babi.files import SPLITS, BabiSpec, Questions, load_questions, notes, num_skipped, word_counts
from tasks.babi.parse import PLACEHOLDER, WORDS
from tasks.babi.simulator import check_simulated
from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct

ALL_TASKS = tuple(range(1, 21))
BUCKET_GROWTH, MIN_BUCKET = 1.25, 128  # maximum ratio of lengths in a bucket; its minimum size, where possible


class StoryState(NamedTuple):
    """State of bAbI.

    Args:
        question: the index of the question in its split, sorted by length.
        t: the number of actions taken.
        wrong: whether a word of the answer was wrong.
    """

    question: Int[Tensor, " B"]
    t: Int[Tensor, " B"]
    wrong: Bool[Tensor, " B"]


@dataclass(frozen=True)
class BAbI(Task):
    """The bAbI tasks: reads a story and a question, one word per step, then answers word by word (Weston et al. 2015).

    arXiv:1502.05698; word by word as in Graves et al. 2016: lower case, full stops and question marks are words, and an
    answer such as `apple,milk` has several words. Each question is an episode: the preceding sentences of its story,
    without earlier questions; the question; a placeholder for each word of the answer. It is padded with zeros to
    `steps`.

    Observations are one-hot (B, 159): 156 words in alphabetical order, `.`, `?`, and the placeholder (see
    `tasks.babi.parse.WORDS`). Actions are logits (B, 158) or integers (B,) of the words without the placeholder. The
    reward of a word of the answer is its log-probability, or 1 for the correct integer, divided by the number of words.

    Questions are sampled with replacement. The number of an episode, from 0 to num_episodes - 1, is the index of its
    question in the split, sorted by length. `Bucketed(BAbI())` trains on all questions in batches of similar length;
    an evaluation of all questions goes bucket by bucket.

    Scores, at the last word of an answer: `error`, 1 unless all words are correct; `error_task_1` etc., the same for
    the questions of each task. At each word: `cross_entropy` (in nats; NaN for integers).

    Files are not read before the first episode; the split is then read once per process.

    Args:
        steps: the maximum number of words of a question, with its story and placeholders. Longer questions are skipped
            (`num_skipped`), with one warning.
        tasks: the numbers of the tasks.
        data_dir: a folder with the folders of tasks_1-20_v1-2, or with that folder, or with babi.tar.gz. None:
            $BADGER_DATA or its subfolder `babi`; if there are no files, the archive is downloaded once.
        folder: the folder of the files qa1_train.txt, qa1_valid.txt, qa1_test.txt etc.: en-valid-10k has 9,000, 1,000
            and 1,000 questions per task (those of en-10k, with a tenth held out), en-valid a tenth of the first two.
            Names such as qa1_single-supporting-fact_train.txt, of en and en-10k, are also found. A file with fewer
            questions than published is read with a warning, as it may be truncated.
        split: "train", "validation", "train+validation" or "test".
        substitute: whether a task whose training file is missing uses the distinct stories of `en` and of the
            validation file, of which the last tenth is then for validation, with a warning. Otherwise a missing file is
            an error.
        simulated: number of questions of task 3, whose training file some copies lack, that are simulated and added to
            its training split (`tasks.babi.simulator`); those of the test file are removed, and a note counts them.
        min_words: questions with this number of words or fewer are in another bucket.
        max_words: `steps` of the whole task of which this is a bucket; None: this is the whole task.

    Raises:
        ValueError: unknown or repeated `tasks`, an unknown `split`, `steps` below 1, or simulated questions that are no
            multiple of 5 or not of `tasks`.
    """

    steps: int = 256
    tasks: tuple[int, ...] = ALL_TASKS
    data_dir: str | Path | None = field(default=None, kw_only=True)
    folder: str = field(default="en-valid-10k", kw_only=True)
    split: str = field(default="train", kw_only=True)
    substitute: bool = field(default=False, kw_only=True)
    simulated: int = field(default=0, kw_only=True)
    min_words: int = field(default=0, kw_only=True)
    max_words: int | None = field(default=None, kw_only=True)

    differentiable: ClassVar[bool] = True
    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "error"
    better: ClassVar[str] = "lower"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        unknown = [task for task in self.tasks if task not in ALL_TASKS]
        if unknown or not self.tasks or len(set(self.tasks)) < len(self.tasks):
            raise ValueError(f"tasks={self.tasks}, want some of the numbers from 1 to 20, each at most once")
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}, want one of: {', '.join(SPLITS)}")
        check_simulated(self.simulated, self.tasks)

    @property
    def evaluation_task(self) -> "BAbI":
        """The validation split for "train"; the test split for "train+validation"."""
        return replace(self, split={"train": "validation", "train+validation": "test"}.get(self.split, self.split))

    @property
    def obs_size(self) -> int:
        return PLACEHOLDER + 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(WORDS))

    @property
    def num_episodes(self) -> int:
        first, end = self._question_range()
        return end - first

    @property
    def num_skipped(self) -> dict[int, int]:
        """The number of questions of each task with more than `max_words` words, or `steps` of the whole task."""
        return num_skipped(self._spec, self.max_words or self.steps)

    @property
    def notes(self) -> list[str]:
        """Notes on skipped questions, substituted files, and files that may be truncated."""
        return [*_skipped_notes(self._spec, self.max_words or self.steps), *notes(self._spec)]

    @property
    def buckets(self) -> list["BAbI"]:
        """Questions of similar length: the longest of a bucket has at most 1.25 times the words of the shortest.

        A bucket with fewer than `MIN_BUCKET` questions is extended to shorter ones.
        """
        first, end = self._question_range()
        lengths = self._questions(torch.device("cpu")).lengths
        buckets: list[BAbI] = []
        while end > first:
            longest, shortest = int(lengths[end - 1]), int(lengths[max(first, end - MIN_BUCKET)])
            min_words = max(self.min_words, min(int(longest / BUCKET_GROWTH), shortest - 1))
            max_words = self.max_words or self.steps
            buckets.append(replace(self, steps=longest, min_words=min_words, max_words=max_words))
            end = int(torch.searchsorted(lengths, min_words, right=True))
        return buckets[::-1]

    @property
    def _spec(self) -> BabiSpec:
        return BabiSpec(self.data_dir, self.folder, self.split, self.tasks, self.substitute, self.simulated)

    def _questions(self, device: torch.device) -> Questions:
        return load_questions(self._spec, device)

    def _question_range(self) -> tuple[int, int]:
        """First and end index of the questions whose lengths are in (min_words, steps]."""
        lengths = word_counts(self._spec)
        first, end = bisect_right(lengths, self.min_words), bisect_right(lengths, self.steps)
        if first == end:
            raise ValueError(
                f"steps={self.steps} (min_words={self.min_words}): no question of tasks={self.tasks}, "
                f"split={self.split!r} has such a length, want {lengths[0]} to {lengths[-1]} words"
            )
        return first, end

    def reset(self, batch: int, rng: torch.Generator) -> tuple[StoryState, Step]:
        first, end = self._question_range()
        return self._initial_step(torch.randint(first, end, (batch,), generator=rng, device=rng.device))

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[StoryState, Step]:
        first, end = self._question_range()
        if index.device.type == "cpu" and bool(((index < 0) | (index >= end - first)).any()):
            lowest, highest = index.min().item(), index.max().item()
            raise IndexError(f"index from {lowest} to {highest}, want numbers from 0 to {end - first - 1}")
        return self._initial_step(first + index)

    def _initial_step(self, question: Tensor) -> tuple[StoryState, Step]:
        _warn_once(self._spec, self.max_words or self.steps)
        state = StoryState(question, torch.zeros_like(question), torch.zeros_like(question, dtype=torch.bool))
        zeros = torch.zeros(len(question), dtype=self.dtype, device=question.device)
        names = ["error", "cross_entropy", *(f"error_task_{task}" for task in self.tasks)]
        return state, self._make_step(state, zeros, dict.fromkeys(names, torch.full_like(zeros, torch.nan)))

    def step(self, state: StoryState, action: Tensor, rng: torch.Generator) -> tuple[StoryState, Step]:
        questions = self._questions(action.device)
        count, task = questions.counts[state.question], questions.tasks[state.question]
        position = state.t - questions.lengths[state.question] + count  # in the answer
        answer_mask = (position >= 0) & (position < count)
        target = questions.answers[state.question, position.clamp(0, questions.answers.shape[1] - 1)].long()
        reward, correct = reward_and_correct(action, target, self.dtype)
        wrong = state.wrong | (answer_mask & (correct == 0))
        error = torch.where(position == count - 1, wrong.to(self.dtype), torch.nan)
        cross_entropy = -reward.detach() if action.is_floating_point() else torch.full_like(correct, torch.nan)
        task_error = torch.where(task == _task_column(self.tasks, task.device), error, torch.nan)
        scores = {"error": error, "cross_entropy": torch.where(answer_mask, cross_entropy, torch.nan)}
        scores |= {f"error_task_{number}": row for number, row in zip(self.tasks, task_error, strict=True)}
        state = StoryState(state.question, state.t + 1, wrong)
        return state, self._make_step(state, torch.where(answer_mask, reward / count, 0), scores)

    def _make_step(self, state: StoryState, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        done = state.t >= self.steps
        return Step(self._observe(state.question, state.t), reward, done, torch.zeros_like(done), scores)

    def _observe(self, question: Int[Tensor, " B"], t: Int[Tensor, "*T B"]) -> Float[Tensor, "*T B O"]:
        """One-hot words at step t; zeros after the end of a question."""
        questions = self._questions(question.device)
        length = questions.lengths[question]
        word = questions.words[questions.starts[question] + t.clamp(max=length - 1)]
        vocabulary = torch.arange(self.obs_size, device=t.device)
        return ((word.unsqueeze(-1) == vocabulary) & (t < length).unsqueeze(-1)).to(self.dtype)

    def preview(self, state: StoryState, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        offsets = torch.arange(steps, device=state.t.device).unsqueeze(-1)
        return list(self._observe(state.question, state.t + offsets))

    def step_labels(self, state: StoryState, row: int = 0) -> list[str]:
        """The words of one episode, one per step; a placeholder is "-".

        Args:
            state: a state of the episodes.
            row: the index of the episode in the batch.
        """
        questions, index = self._questions(state.t.device), state.question[row]
        start, length = questions.starts[index], questions.lengths[index]
        return [(*WORDS, "-")[word] for word in questions.words[start : start + length].tolist()]

    def answer(self, state: StoryState, row: int) -> list[str]:
        """The words of the correct answer of one episode.

        Args:
            state: a state of the episodes.
            row: the index of the episode in the batch.
        """
        questions, index = self._questions(state.t.device), state.question[row]
        return [WORDS[word] for word in questions.answers[index, : questions.counts[index]].tolist()]

    def references(self) -> dict[str, dict[str, float]]:
        """Chance level, and the most common answer of each task in this split."""
        first, end = self._question_range()
        questions = self._questions(torch.device("cpu"))
        return references(*(part[first:end] for part in (questions.tasks, questions.answers, questions.counts)))


@cache
def _warn_once(spec: BabiSpec, max_words: int) -> None:
    for note in _skipped_notes(spec, max_words):
        warnings.warn(note, stacklevel=2)


def _skipped_notes(spec: BabiSpec, max_words: int) -> list[str]:
    skipped = {task: count for task, count in num_skipped(spec, max_words).items() if count}
    if not skipped:
        return []
    counts = ", ".join(f"{count} of task {task}" for task, count in skipped.items())
    return [
        f"{sum(skipped.values())} questions of split={spec.split!r} have more than steps={max_words} words and are "
        f"skipped: {counts}"
    ]


@lru_cache(maxsize=16)
def _task_column(tasks: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(tasks, device=device).unsqueeze(-1)
