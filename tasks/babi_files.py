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

from tasks import files
from tasks.babi_text import Story, stories

ROOT, ARCHIVE = "tasks_1-20_v1-2", "babi.tar.gz"
SPLITS = {
    "train": ("train",),
    "validation": ("valid",),
    "train+validation": ("train", "valid"),
    "test": ("test",),
}
BABI = files.Source(
    "babi",
    {ARCHIVE: "sha256:f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e"},
    ("https://dl.fbaipublicfiles.com/parlai/babi/", "http://parl.ai/downloads/babi/"),
)


class Asked(NamedTuple):
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


def load(asked: Asked, device: torch.device) -> Questions:
    """Read once in a process, and held on each device that asks."""
    return _held(asked, os.environ.get(files.FOLDER), device)


def left_out(asked: Asked, limit: int) -> dict[int, int]:
    """How many questions of each task have more words than `limit`."""
    questions = load(asked, torch.device("cpu"))
    longer = questions.tasks[questions.lengths > limit]
    return {task: int((longer == task).sum()) for task in asked.tasks}


@lru_cache(maxsize=16)
def _held(asked: Asked, environment: str | None, device: torch.device) -> Questions:
    """environment: stands in the key, for it moves the files."""
    if device.type != "cpu":
        return Questions(*(part.to(device) for part in _held(asked, environment, torch.device("cpu"))))
    told = [(task, question) for task, found in _split(asked).items() for story in found for question in story]
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


class _Shelf(NamedTuple):
    """Files that are there: in a folder, or in the archive."""

    place: Path
    held: dict[str, bytes]

    def stories(self, names: list[str]) -> list[Story]:
        return [story for name in names for story in stories(self._text(name), str(self.place / name))]

    def _text(self, name: str) -> str:
        try:
            return self.held[name].decode("ascii")
        except UnicodeDecodeError as error:
            raise ValueError(f"{self.place / name} is no text in ASCII ({error}), want a file of bAbI") from error


def _split(asked: Asked) -> dict[int, list[Story]]:
    """The stories of each task.

    Raises:
        FileNotFoundError: a file that is wanted is not there. ValueError: one is not in the format.
    """
    wanted = {task: [f"{asked.folder}/qa{task}_{part}.txt" for part in SPLITS[asked.split]] for task in asked.tasks}
    spare = {task: _spare(asked.folder, task) for task in asked.tasks if asked.substitute and asked.split != "test"}
    shelf = _found([name for names in [*wanted.values(), *spare.values()] for name in names], asked.data_dir)
    parts = {}
    for task, names in wanted.items():
        missing = [name for name in names if name not in shelf.held]
        if task in spare and spare[task][0] not in shelf.held:
            parts[task] = _substituted(task, asked.split, shelf, spare[task])
        elif missing:
            raise FileNotFoundError(
                f"{' and '.join(missing)} not in {shelf.place}: put it there, leave {task} out of tasks, or say "
                "substitute=True to train on what else there is of this task"
            )
        else:
            parts[task] = shelf.stories(names)
    return parts


def _spare(folder: str, task: int) -> list[str]:
    """The name of the training file of a task, and patterns of what may stand for it."""
    return [f"{folder}/qa{task}_train.txt", f"en/qa{task}_*_train.txt", f"{folder}/qa{task}_valid.txt"]


def _substituted(task: int, split: str, shelf: _Shelf, patterns: list[str]) -> list[Story]:
    """Each distinct story of other files of the task once; the last tenth is for validation."""
    names = [name for pattern in patterns[1:] for name in shelf.held if fnmatch(name, pattern)]
    distinct = list(dict.fromkeys(shelf.stories(names)))
    rest = len(distinct) - len(distinct) // 10
    chosen = {"train": distinct[:rest], "validation": distinct[rest:]}.get(split, distinct)
    if not chosen:
        raise FileNotFoundError(
            f"{', '.join(patterns)}: of task {task} there are {len(distinct)} stories in {shelf.place}, none "
            f"is left for split={split!r}; leave {task} out of tasks"
        )
    warnings.warn(
        f"task {task}: there is no {patterns[0]}; the {sum(map(len, chosen))} questions of split={split!r} are of "
        f"{' and '.join(names)}, each once. Report this task apart",
        stacklevel=2,
    )
    return chosen


def _found(patterns: list[str], data_dir: str | Path | None) -> _Shelf:
    """All files whose names fit, from the first place that has their folder."""
    named = os.environ.get(files.FOLDER)
    places = [Path(data_dir)] if data_dir is not None else [Path(named), Path(named) / BABI.name] if named else []
    for folder in [inside for place in places for inside in (place, place / ROOT)]:
        if (folder / patterns[0]).parent.is_dir():  # what it lacks is not made up from another place
            paths = {path for pattern in patterns for path in folder.glob(pattern)}
            return _Shelf(folder, {path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(paths)})
    try:
        (archive,) = files.find(BABI, (ARCHIVE,), data_dir)
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"there is neither {patterns[0]} nor {ROOT}/{patterns[0]}, nor the archive: {error}"
        ) from error
    return _Shelf(archive, _unpacked(archive, patterns))


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
