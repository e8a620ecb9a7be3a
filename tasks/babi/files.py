"""The files of bAbI: where they lie, which of their stories are in a split, and its questions as tensors."""

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

from tasks.babi.parse import Story, stories
from tasks.data import download as files

ROOT, ARCHIVE = "tasks_1-20_v1-2", "babi.tar.gz"
SPLITS = {
    "train": ("train",),
    "validation": ("valid",),
    "train+validation": ("train", "valid"),
    "test": ("test",),
}
PUBLISHED = {  # folder -> part -> questions in each of its files, but for some few of tasks 18 and 20
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
    """Which questions: of a folder of the archive, a split and tasks, with or without substitutes."""

    data_dir: str | Path | None
    folder: str
    split: str
    tasks: tuple[int, ...]
    substitute: bool


class Questions(NamedTuple):
    """Of all stories of a split, those with the fewest words first."""

    words: UInt8[Tensor, " W"]  # all that is read, question after question
    starts: Int[Tensor, " Q"]
    lengths: Int[Tensor, " Q"]
    answers: UInt8[Tensor, "Q A"]  # 0 behind the last word
    counts: Int[Tensor, " Q"]  # words of the answer
    tasks: Int[Tensor, " Q"]


def load_questions(asked: BabiSpec, device: torch.device) -> Questions:
    """Read once in a process, and held on each device that asks. What there is to tell of the files (`notes`) is warned
    of then."""
    return _load_cached(asked, os.environ.get(files.DATA_ENV_VAR), device).questions


def notes(asked: BabiSpec) -> list[str]:
    """Of stories that stand for a missing file, and of files that seem to be cut off."""
    return _load_cached(asked, os.environ.get(files.DATA_ENV_VAR), torch.device("cpu")).notes


def num_skipped(asked: BabiSpec, limit: int) -> dict[int, int]:
    """How many questions of each task have more words than `limit`."""
    questions = load_questions(asked, torch.device("cpu"))
    longer = questions.tasks[questions.lengths > limit]
    return {task: int((longer == task).sum()) for task in asked.tasks}


def word_counts(asked: BabiSpec) -> list[int]:
    """The number of words of each question, in ascending order, on the host."""
    return _load_cached(asked, os.environ.get(files.DATA_ENV_VAR), torch.device("cpu")).word_counts


class _Loaded(NamedTuple):
    questions: Questions
    notes: list[str]
    word_counts: list[int]


@lru_cache(maxsize=16)
def _load_cached(asked: BabiSpec, environment: str | None, device: torch.device) -> _Loaded:
    """environment: stands in the key, for it moves the files."""
    if device.type != "cpu":
        loaded = _load_cached(asked, environment, torch.device("cpu"))
        return loaded._replace(questions=Questions(*(part.to(device) for part in loaded.questions)))
    parts, notes = _split(asked)
    for note in notes:
        warnings.warn(note, stacklevel=3)
    questions = _sorted(parts)
    return _Loaded(questions, notes, questions.lengths.tolist())


def _sorted(parts: dict[int, list[Story]]) -> Questions:
    told = [(task, question) for task, found in parts.items() for story in found for question in story]
    told.sort(key=lambda pair: len(pair[1].read))  # stable: by task and place where lengths are equal
    lengths = torch.tensor([len(question.read) for _, question in told])
    counts = torch.tensor([len(question.answer) for _, question in told])
    most = int(counts.max())
    return Questions(
        _bytes(b"".join(question.read for _, question in told)),
        lengths.cumsum(0) - lengths,
        lengths,
        _bytes(b"".join(question.answer.ljust(most, b"\0") for _, question in told)).view(-1, most),
        counts,
        torch.tensor([task for task, _ in told]),
    )


def _bytes(held: bytes) -> Tensor:
    return torch.tensor(np.frombuffer(held, np.uint8))


class _FileSet(NamedTuple):
    """Files that are there: in a folder, or in the archive."""

    place: Path
    held: dict[str, bytes]

    def named(self, pattern: str) -> list[str]:
        return [name for name in self.held if fnmatch(name, pattern)]

    def stories(self, name: str) -> list[Story]:
        return stories(self._text(name), str(self.place / name))

    def _text(self, name: str) -> str:
        held = self.held[name]
        try:
            return held.decode("ascii")
        except UnicodeDecodeError as error:
            line = held.count(b"\n", 0, error.start) + 1
            raise ValueError(
                f"{self.place / name}, line {line}: is no text in ASCII ({error}), want a file of bAbI"
            ) from error


def _split(asked: BabiSpec) -> tuple[dict[int, list[Story]], list[str]]:
    """The stories of each task; and what there is to tell of their files.

    Raises:
        FileNotFoundError: a file that is wanted is not there. ValueError: one is not in the format.
    """
    parts = SPLITS[asked.split]
    wanted = {(task, part): _names(asked.folder, task, part) for task in asked.tasks for part in parts}
    spare = {
        task: _substitute_patterns(asked.folder, task)
        for task in asked.tasks
        if asked.substitute and asked.split != "test"
    }
    trained = {task: _names(asked.folder, task, "train") for task in spare}
    patterns = [*wanted.values(), *trained.values(), *spare.values()]
    shelf = _found([name for names in patterns for name in names], asked.data_dir)
    found: dict[int, list[Story]] = {}
    notes: list[str] = []
    for task in asked.tasks:
        if task in spare and not any(shelf.named(name) for name in trained[task]):
            found[task], note = _substituted(task, asked, shelf, spare[task])
            notes.append(note)
            continue
        found[task] = []
        for part in parts:
            name = next((name for pattern in wanted[task, part] for name in shelf.named(pattern)), None)
            if name is None:
                raise _missing(wanted[task, part][0], task, shelf, asked)
            read = shelf.stories(name)
            found[task] += read
            notes += _truncation_notes(shelf, name, part, sum(map(len, read)))
    return found, notes


def _names(folder: str, task: int, part: str) -> list[str]:
    """Patterns of a file's name; `en` and `en-10k` tell in it what the task is."""
    return [f"{folder}/qa{task}_{part}.txt", f"{folder}/qa{task}_*_{part}.txt"]


def _substitute_patterns(folder: str, task: int) -> list[str]:
    """Patterns of what may stand for the training file of a task."""
    return [f"en/qa{task}_*_train.txt", f"{folder}/qa{task}_valid.txt"]


def _missing(name: str, task: int, shelf: _FileSet, asked: BabiSpec) -> FileNotFoundError:
    mend = f"put it there, or leave {task} out of tasks"
    if name.endswith("_valid.txt") and asked.folder in ("en", "en-10k"):
        mend = f"{asked.folder} holds nothing out for validation, take folder='en-valid-10k'"
    elif name.endswith("_train.txt"):
        mend += ", or say substitute=True to train on what else there is of this task"
    return FileNotFoundError(f"{name} not in {shelf.place}: {mend}")


def _truncation_notes(shelf: _FileSet, name: str, part: str, questions: int) -> list[str]:
    """A file that is cut off between two stories looks like a whole one."""
    published = PUBLISHED.get(name.partition("/")[0], {}).get(part, 0)
    if questions > 0.99 * published:
        return []
    lines = shelf.held[name].count(b"\n")
    return [
        f"{shelf.place / name}, line {lines}: ends after {questions} questions, where the published file has "
        f"{published}; if it was cut off, fetch it anew"
    ]


def _substituted(task: int, asked: BabiSpec, shelf: _FileSet, patterns: list[str]) -> tuple[list[Story], str]:
    """Each distinct story of other files of the task once; the last tenth is for validation. And what to tell of it."""
    names = [name for pattern in patterns for name in shelf.named(pattern)]
    distinct = list(dict.fromkeys(story for name in names for story in shelf.stories(name)))
    rest = len(distinct) - len(distinct) // 10
    chosen = {"train": distinct[:rest], "validation": distinct[rest:]}.get(asked.split, distinct)
    missing = _names(asked.folder, task, "train")[0]
    if not chosen:
        raise FileNotFoundError(
            f"{', '.join([missing, *patterns])}: of task {task} there are {len(distinct)} stories in {shelf.place}, "
            f"none is left for split={asked.split!r}; leave {task} out of tasks"
        )
    return chosen, (
        f"task {task}: there is no {missing}; the {sum(map(len, chosen))} questions of split={asked.split!r} are of "
        f"{' and '.join(names)}, each once. Report this task apart: error_task_{task} is of it, error of all tasks"
    )


def _found(patterns: list[str], data_dir: str | Path | None) -> _FileSet:
    """All files whose names fit, from the first place that has their folder."""
    named = os.environ.get(files.DATA_ENV_VAR)
    places = [Path(data_dir)] if data_dir is not None else [Path(named), Path(named) / BABI.name] if named else []
    for folder in [inside for place in places for inside in (place, place / ROOT)]:
        if (folder / patterns[0]).parent.is_dir():  # what it lacks is not made up from another place
            paths = {path for pattern in patterns for path in folder.glob(pattern)}
            return _FileSet(folder, {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)})
    try:
        (archive,) = files.find_or_download(BABI, (ARCHIVE,), data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is neither {patterns[0]} nor {ROOT}/{patterns[0]}, nor the archive: {error}"
        ) from error
    return _FileSet(archive, _unpacked(archive, patterns))


def _unpacked(archive: Path, patterns: list[str]) -> dict[str, bytes]:
    held = {}
    try:
        with tarfile.open(archive) as tar:
            for member in tar:
                name = member.name.removeprefix("./").removeprefix(f"{ROOT}/")
                file = tar.extractfile(member) if any(fnmatch(name, pattern) for pattern in patterns) else None
                if file:
                    held[name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise ValueError(f"{archive} is no whole tar.gz file ({error}); fetch it anew") from error
    return held
