"""Data files of bAbI: search and download, stories of a split, and questions as tensors."""

import os
import tarfile
import warnings
import zlib
from fnmatch import fnmatch
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Int, UInt8
from torch import Tensor

from tasks.babi.parse import Question, Story, parse_stories
from tasks.babi.simulator import TASK as SIMULATED_TASK
from tasks.babi.simulator import simulate_stories
from tasks.data import download as files

ROOT, ARCHIVE = "tasks_1-20_v1-2", "babi.tar.gz"
SPLITS = {
    "train": ("train",),
    "validation": ("valid",),
    "train+validation": ("train", "valid"),
    "test": ("test",),
}
PUBLISHED = {  # folder -> part -> questions in each of its files; tasks 18 and 20 have slightly fewer
    "en": {"train": 1_000, "test": 1_000},
    "en-10k": {"train": 10_000, "test": 1_000},
    "en-valid": {"train": 900, "valid": 100, "test": 1_000},
    "en-valid-10k": {"train": 9_000, "valid": 1_000, "test": 1_000},
}
BABI = files.DataSource(
    "babi",
    {ARCHIVE: "sha256:f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e"},
    ("https://dl.fbaipublicfiles.com/parlai/babi/", "http://parl.ai/downloads/babi/"),
)


class BabiSpec(NamedTuple):
    """Selection of questions, as in `BAbI`."""

    data_dir: str | Path | None
    folder: str
    split: str
    tasks: tuple[int, ...]
    substitute: bool
    simulated: int


class Questions(NamedTuple):
    """All Q questions of a split as tensors, sorted by length.

    Args:
        words: the inputs of all questions, concatenated.
        starts: the index of the first word of each question.
        lengths: the number of input words of each question.
        answers: the words of the answers, padded with 0.
        counts: the number of words of each answer.
        tasks: the task of each question.
    """

    words: UInt8[Tensor, " W"]
    starts: Int[Tensor, " Q"]
    lengths: Int[Tensor, " Q"]
    answers: UInt8[Tensor, "Q A"]
    counts: Int[Tensor, " Q"]
    tasks: Int[Tensor, " Q"]


def load_questions(spec: BabiSpec, device: torch.device) -> Questions:
    """The questions of a split, read once per process, with a warning for each of its `notes`; cached per device."""
    return _load_cached(spec, os.environ.get(files.DATA_ENV_VAR), device).questions


def notes(spec: BabiSpec) -> list[str]:
    """Notes on substituted stories, and on files that may be truncated."""
    return _load_cached(spec, os.environ.get(files.DATA_ENV_VAR), torch.device("cpu")).notes


def num_skipped(spec: BabiSpec, max_words: int) -> dict[int, int]:
    """The number of questions of each task with more than `max_words` words."""
    questions = load_questions(spec, torch.device("cpu"))
    longer = questions.tasks[questions.lengths > max_words]
    return {task: int((longer == task).sum()) for task in spec.tasks}


def word_counts(spec: BabiSpec) -> list[int]:
    """The number of words of each question, in ascending order, on the host."""
    return _load_cached(spec, os.environ.get(files.DATA_ENV_VAR), torch.device("cpu")).word_counts


class _Loaded(NamedTuple):
    questions: Questions
    notes: list[str]
    word_counts: list[int]


@lru_cache(maxsize=16)
def _load_cached(spec: BabiSpec, environment: str | None, device: torch.device) -> _Loaded:
    """`environment` is part of the cache key, as it changes the location of the files."""
    if device.type != "cpu":
        loaded = _load_cached(spec, environment, torch.device("cpu"))
        return loaded._replace(questions=Questions(*(part.to(device) for part in loaded.questions)))
    stories, notes = _read_split(spec)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    questions = _to_tensors(stories)
    return _Loaded(questions, notes, questions.lengths.tolist())


def _to_tensors(stories: dict[int, list[Story]]) -> Questions:
    questions = [(task, question) for task in stories for story in stories[task] for question in story]
    questions.sort(key=lambda pair: len(pair[1].inputs))  # stable: equal lengths keep the order of tasks and files
    lengths = torch.tensor([len(question.inputs) for _, question in questions])
    counts = torch.tensor([len(question.answer) for _, question in questions])
    width = int(counts.max())
    return Questions(
        _bytes_to_tensor(b"".join(question.inputs for _, question in questions)),
        lengths.cumsum(0) - lengths,
        lengths,
        _bytes_to_tensor(b"".join(question.answer.ljust(width, b"\0") for _, question in questions)).view(-1, width),
        counts,
        torch.tensor([task for task, _ in questions]),
    )


def _bytes_to_tensor(data: bytes) -> Tensor:
    return torch.tensor(np.frombuffer(data, np.uint8))


class _FileSet(NamedTuple):
    """The content of the files found in a folder or in the archive."""

    root: Path
    contents: dict[str, bytes]

    def match(self, pattern: str) -> list[str]:
        return [name for name in self.contents if fnmatch(name, pattern)]

    def stories(self, name: str) -> list[Story]:
        return parse_stories(self._decode(name), str(self.root / name))

    def _decode(self, name: str) -> str:
        data = self.contents[name]
        try:
            return data.decode("ascii")
        except UnicodeDecodeError as error:
            line = data.count(b"\n", 0, error.start) + 1
            raise ValueError(f"{self.root / name}, line {line}: not ASCII ({error}), want a file of bAbI") from error


def _read_split(spec: BabiSpec) -> tuple[dict[int, list[Story]], list[str]]:
    """The stories of each task, and notes on their files.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not in the format.
    """
    parts = SPLITS[spec.split]
    patterns = {(task, part): _name_patterns(spec.folder, task, part) for task in spec.tasks for part in parts}
    substitutes = {
        task: _substitute_patterns(spec.folder, task) for task in spec.tasks if spec.substitute and spec.split != "test"
    }
    train_patterns = {task: _name_patterns(spec.folder, task, "train") for task in substitutes}
    is_simulated = spec.simulated > 0 and "train" in parts
    test_patterns = _name_patterns(spec.folder, SIMULATED_TASK, "test") if is_simulated else []
    all_patterns = [*patterns.values(), *train_patterns.values(), *substitutes.values(), test_patterns]
    file_set = _find_files([name for names in all_patterns for name in names], spec.data_dir)
    stories: dict[int, list[Story]] = {}
    notes: list[str] = []
    for task in spec.tasks:
        if task in substitutes and not any(file_set.match(name) for name in train_patterns[task]):
            stories[task], note = _substitute_stories(task, spec, file_set, substitutes[task])
            notes.append(note)
            continue
        stories[task] = []
        for part in parts:
            name = next((name for pattern in patterns[task, part] for name in file_set.match(pattern)), None)
            if name is None:
                raise _missing(patterns[task, part][0], task, file_set, spec)
            file_stories = file_set.stories(name)
            stories[task] += file_stories
            notes += _truncation_notes(file_set, name, part, sum(map(len, file_stories)))
    if is_simulated:
        name = next((name for pattern in test_patterns for name in file_set.match(pattern)), None)
        if name is None:
            raise FileNotFoundError(
                f"{test_patterns[0]} not in {file_set.root}: put it there, so that none of its questions is simulated, "
                "or set simulated=0"
            )
        new, note = _simulated_stories(spec.simulated, [q for story in file_set.stories(name) for q in story])
        stories[SIMULATED_TASK] += new
        notes.append(note)
    return stories, notes


def _simulated_stories(questions: int, test: list[Question]) -> tuple[list[Story], str]:
    """Simulated stories without the questions of a test file, and a note."""
    stories, removed = simulate_stories(questions, seed=0, exclude=test)
    return stories, (
        f"task {SIMULATED_TASK}: {questions - removed} of its questions are simulated; {removed} that are in the test "
        f"file were removed. Report error_task_{SIMULATED_TASK} separately from the error of all tasks"
    )


def _name_patterns(folder: str, task: int, part: str) -> list[str]:
    """Patterns of the name of a file; names in `en` and `en-10k` include the name of the task."""
    return [f"{folder}/qa{task}_{part}.txt", f"{folder}/qa{task}_*_{part}.txt"]


def _substitute_patterns(folder: str, task: int) -> list[str]:
    """Patterns of files that can substitute for the training file of a task."""
    return [f"en/qa{task}_*_train.txt", f"{folder}/qa{task}_valid.txt"]


def _missing(name: str, task: int, file_set: _FileSet, spec: BabiSpec) -> FileNotFoundError:
    advice = f"put it there, or leave {task} out of tasks"
    if name.endswith("_valid.txt") and spec.folder in ("en", "en-10k"):
        advice = f"{spec.folder} has no validation files, use folder='en-valid-10k'"
    elif name.endswith("_train.txt"):
        advice += ", or set substitute=True to train on other stories of this task"
    return FileNotFoundError(f"{name} not in {file_set.root}: {advice}")


def _truncation_notes(file_set: _FileSet, name: str, part: str, questions: int) -> list[str]:
    """A note if a file has fewer questions than published, as truncation between two stories is not an error."""
    published = PUBLISHED.get(name.partition("/")[0], {}).get(part, 0)
    if questions > 0.99 * published:
        return []
    lines = file_set.contents[name].count(b"\n")
    return [
        f"{file_set.root / name}, line {lines}: ends after {questions} questions, where the published file has "
        f"{published}; if it is truncated, download it again"
    ]


def _substitute_stories(task: int, spec: BabiSpec, file_set: _FileSet, patterns: list[str]) -> tuple[list[Story], str]:
    """The distinct stories of other files of the task, of which the last tenth is for validation, and a note."""
    names = [name for pattern in patterns for name in file_set.match(pattern)]
    distinct = list(dict.fromkeys(story for name in names for story in file_set.stories(name)))
    num_train = len(distinct) - len(distinct) // 10
    stories = {"train": distinct[:num_train], "validation": distinct[num_train:]}.get(spec.split, distinct)
    missing = _name_patterns(spec.folder, task, "train")[0]
    if not stories:
        raise FileNotFoundError(
            f"{', '.join([missing, *patterns])}: task {task} has {len(distinct)} stories in {file_set.root}, "
            f"none of them for split={spec.split!r}; leave {task} out of tasks"
        )
    return stories, (
        f"task {task}: {missing} is missing; the {sum(map(len, stories))} questions of split={spec.split!r} are the "
        f"distinct ones of {' and '.join(names)}. Report error_task_{task} separately from the error of all tasks"
    )


def _find_files(patterns: list[str], data_dir: str | Path | None) -> _FileSet:
    """All files that match the patterns, from the first folder that has their subfolder."""
    env_dir = os.environ.get(files.DATA_ENV_VAR)
    roots = [Path(env_dir), Path(env_dir) / BABI.name] if env_dir else []
    roots = roots if data_dir is None else [Path(data_dir)]
    for folder in [candidate for root in roots for candidate in (root, root / ROOT)]:
        if (folder / patterns[0]).parent.is_dir():  # files of two folders are not mixed
            paths = {path for pattern in patterns for path in folder.glob(pattern)}
            return _FileSet(folder, {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)})
    try:
        (archive,) = files.find_or_download(BABI, (ARCHIVE,), data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"neither {patterns[0]} nor {ROOT}/{patterns[0]} nor the archive exists: {error}"
        ) from error
    return _FileSet(archive, _unpack(archive, patterns))


def _unpack(archive: Path, patterns: list[str]) -> dict[str, bytes]:
    contents = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(f"{ROOT}/")
                file = tar.extractfile(member) if any(fnmatch(name, pattern) for pattern in patterns) else None
                if file:
                    contents[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive} is not a complete tar.gz file ({error}); download it again") from error
    return contents
