"""bAbI: a story is read word by word, then a question, which is answered word by word. 20 tasks of reasoning."""

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
from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct

ALL_TASKS = tuple(range(1, 21))
BUCKET_GROWTH, MIN_BUCKET = (
    1.25,
    128,
)  # of a part: how much longer its longest question may be, and how many it has if it can


class StoryState(NamedTuple):
    question: Int[Tensor, " B"]  # its number in the split, the one with the fewest words first
    t: Int[Tensor, " B"]  # actions made
    wrong: Bool[Tensor, " B"]  # whether a word of the answer was


@dataclass(frozen=True)
class BAbI(Task):
    """Read a story and a question, a word a step, and say the answer where placeholders ask for it.

    Weston et al. 2015, arXiv:1502.05698; word by word as in Graves et al. 2016: lower case, full stops and question
    marks are words, and an answer such as `apple,milk` is said in as many words. Each question is an episode: what was
    told before it in its story, without earlier questions; the question; a placeholder for each word of the answer.
    Then come zeros until `steps` is reached, and nothing is due.

    Observations are one-hot (B, 159): 156 words in alphabetical order, `.`, `?`, and the placeholder (the words are in
    `tasks.babi.parse.WORDS`). Actions are logits (B, 158) or integers (B,), the same words without the placeholder. The
    reward of a word of the answer is its log-probability, or 1 for the right integer, over the number of such words.

    Questions are drawn with replacement. A number from 0 to episodes - 1 is a question's place in its split, ordered by
    length. `Parts(BAbI())` trains on all of them in batches of similar length; an evaluation of all goes part by part.

    Scores, at the last word of an answer: `error`, 1 unless all its words were right; `error_task_1` and so on, the
    same for the questions of each task. At each word: `cross_entropy` (in nats; NaN for integers).

    Nothing is looked for or read before the first episode; then the split is read once in a process.

    Args:
        steps: words of the longest question that is asked, with its story and placeholders. Those with more are
            counted (`num_skipped`), and a warning tells of them once.
        tasks: which of the 20.
        data_dir: a folder with the folders of tasks_1-20_v1-2, or with that folder, or with babi.tar.gz. None:
            $BADGER_DATA or its subfolder `babi`; where nothing is there, the archive is fetched once.
        folder: of the files qa1_train.txt, qa1_valid.txt, qa1_test.txt and so on: en-valid-10k has 9,000, 1,000 and
            1,000 questions a task (those of en-10k, of which a tenth is held out), en-valid a tenth of the first two.
            Names such as qa1_single-supporting-fact_train.txt, of en and en-10k, do as well. A file with fewer
            questions than that is read, and a warning tells of it: it may be cut off, or of one's own making.
        split: "train", "validation", "train+validation" or "test".
        substitute: whether a task without its training file is trained on what else there is of it: the distinct
            stories of `en` and of the validation file, of which the last tenth is then for validation. A warning says
            so. Otherwise the missing file is an error.
        min_words: questions of so few words are not asked, for another part of the task has them.
        max_words: `steps` of the whole of which this is a part; None: it is the whole.
    """

    steps: int = 256
    tasks: tuple[int, ...] = ALL_TASKS
    data_dir: str | Path | None = field(default=None, kw_only=True)
    folder: str = field(default="en-valid-10k", kw_only=True)
    split: str = field(default="train", kw_only=True)
    substitute: bool = field(default=False, kw_only=True)
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

    @property
    def evaluation_task(self) -> "BAbI":
        """Validation questions; of an agent that was trained on those, too, the test's."""
        return replace(self, split={"train": "validation", "train+validation": "test"}.get(self.split, self.split))

    @property
    def obs_size(self) -> int:
        return PLACEHOLDER + 1

    @property
    def action_space(self) -> Discrete:
        return Discrete(len(WORDS))

    @property
    def num_episodes(self) -> int:
        first, end = self._span()
        return end - first

    @property
    def num_skipped(self) -> dict[int, int]:
        """How many questions of each task have more words than `max_words`, or `steps` of the whole."""
        return num_skipped(self._spec, self.max_words or self.steps)

    @property
    def notes(self) -> list[str]:
        """Of questions that are left out, of what stands for a missing file, and of files that seem to be cut off."""
        return [*_longer(self._spec, self.max_words or self.steps), *notes(self._spec)]

    @property
    def buckets(self) -> list["BAbI"]:
        """Of questions of similar length: the longest of a part has at most a quarter more words than the shortest,
        but for parts that have few."""
        first, end = self._span()
        lengths = self._questions(torch.device("cpu")).lengths
        found: list[BAbI] = []
        while end > first:
            longest, shortest = int(lengths[end - 1]), int(lengths[max(first, end - MIN_BUCKET)])
            above = max(self.min_words, min(int(longest / BUCKET_GROWTH), shortest - 1))
            found.append(replace(self, steps=longest, min_words=above, max_words=self.max_words or self.steps))
            end = int(torch.searchsorted(lengths, above, right=True))
        return found[::-1]

    @property
    def _spec(self) -> BabiSpec:
        return BabiSpec(self.data_dir, self.folder, self.split, self.tasks, self.substitute)

    def _questions(self, device: torch.device) -> Questions:
        return load_questions(self._spec, device)

    def _span(self) -> tuple[int, int]:
        """The questions of fitting lengths lie together, from one number to before another."""
        lengths = word_counts(self._spec)
        first, end = bisect_right(lengths, self.min_words), bisect_right(lengths, self.steps)
        if first == end:
            raise ValueError(
                f"steps={self.steps} (min_words={self.min_words}): no question of tasks={self.tasks}, split={self.split!r} has "
                f"so many words; they have {lengths[0]} to {lengths[-1]}"
            )
        return first, end

    def reset(self, batch: int, rng: torch.Generator) -> tuple[StoryState, Step]:
        first, end = self._span()
        return self._initial_step(torch.randint(first, end, (batch,), generator=rng, device=rng.device))

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[StoryState, Step]:
        first, end = self._span()
        if index.device.type == "cpu" and bool(((index < 0) | (index >= end - first)).any()):
            lowest, highest = index.min().item(), index.max().item()
            raise IndexError(f"index from {lowest} to {highest}, want numbers from 0 to {end - first - 1}")
        return self._initial_step(first + index)

    def _initial_step(self, question: Tensor) -> tuple[StoryState, Step]:
        _warn_once(self._spec, self.max_words or self.steps)
        state = StoryState(question, torch.zeros_like(question), torch.zeros_like(question, dtype=torch.bool))
        nothing = torch.zeros(len(question), dtype=self.dtype, device=question.device)
        names = ["error", "cross_entropy", *(f"error_task_{task}" for task in self.tasks)]
        return state, self._make_step(state, nothing, dict.fromkeys(names, torch.full_like(nothing, torch.nan)))

    def step(self, state: StoryState, action: Tensor, rng: torch.Generator) -> tuple[StoryState, Step]:
        questions = self._questions(action.device)
        count, task = questions.counts[state.question], questions.tasks[state.question]
        place = state.t - questions.lengths[state.question] + count  # in the answer
        due = (place >= 0) & (place < count)
        wanted = questions.answers[state.question, place.clamp(0, questions.answers.shape[1] - 1)].long()
        given, right = reward_and_correct(action, wanted, self.dtype)
        wrong = state.wrong | (due & (right == 0))
        error = torch.where(place == count - 1, wrong.to(self.dtype), torch.nan)
        surprise = -given.detach() if action.is_floating_point() else torch.full_like(right, torch.nan)
        own = torch.where(task == _numbers(self.tasks, task.device), error, torch.nan)
        scores = {"error": error, "cross_entropy": torch.where(due, surprise, torch.nan)}
        scores |= {f"error_task_{task}": one for task, one in zip(self.tasks, own, strict=True)}
        state = StoryState(state.question, state.t + 1, wrong)
        return state, self._make_step(state, torch.where(due, given / count, 0), scores)

    def _make_step(self, state: StoryState, reward: Tensor, scores: dict[str, Tensor]) -> Step:
        last = state.t >= self.steps
        return Step(self._observe(state.question, state.t), reward, last, torch.zeros_like(last), scores)

    def _observe(self, question: Int[Tensor, " B"], t: Int[Tensor, "*T B"]) -> Float[Tensor, "*T B O"]:
        """The words read at t, one-hot; zeros behind the question."""
        questions = self._questions(question.device)
        length = questions.lengths[question]
        word = questions.words[questions.starts[question] + t.clamp(max=length - 1)]
        known = torch.arange(self.obs_size, device=t.device)
        return ((word.unsqueeze(-1) == known) & (t < length).unsqueeze(-1)).to(self.dtype)

    def preview(self, state: StoryState, step: Step, steps: int, rng: torch.Generator) -> list[Tensor]:
        ahead = torch.arange(steps, device=state.t.device).unsqueeze(-1)
        return list(self._observe(state.question, state.t + ahead))

    def step_labels(self, state: StoryState, row: int = 0) -> list[str]:
        """What is read in the episode of a row, a word a step; a placeholder is "-"."""
        questions, number = self._questions(state.t.device), state.question[row]
        start, length = questions.starts[number], questions.lengths[number]
        return [(*WORDS, "-")[word] for word in questions.words[start : start + length].tolist()]

    def answer(self, state: StoryState, row: int) -> list[str]:
        """The words that placeholders ask for."""
        questions, number = self._questions(state.t.device), state.question[row]
        return [WORDS[word] for word in questions.answers[number, : questions.counts[number]].tolist()]

    def references(self) -> dict[str, dict[str, float]]:
        """Chance; and to give the commonest answer of each task in this split, whatever is read."""
        first, end = self._span()
        questions = self._questions(torch.device("cpu"))
        return references(*(part[first:end] for part in (questions.tasks, questions.answers, questions.counts)))


@cache
def _warn_once(asked: BabiSpec, limit: int) -> None:
    for note in _longer(asked, limit):
        warnings.warn(note, stacklevel=2)


def _longer(asked: BabiSpec, limit: int) -> list[str]:
    longer = {task: count for task, count in num_skipped(asked, limit).items() if count}
    if not longer:
        return []
    told = ", ".join(f"{count} of task {task}" for task, count in longer.items())
    return [
        f"{sum(longer.values())} questions of split={asked.split!r} have more than steps={limit} words, and are "
        f"left out: {told}"
    ]


@lru_cache(maxsize=16)
def _numbers(tasks: tuple[int, ...], device: torch.device) -> Tensor:
    return torch.tensor(tasks, device=device).unsqueeze(-1)
