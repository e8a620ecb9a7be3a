"""Formats of files of recorded episodes: readers and writers by name.

`hdf5` is one file, read fast; `minari` is a folder that Minari reads, of one agent.
"""

from collections.abc import Callable
from pathlib import Path

from badger.datasets.episode_file import EpisodeFile
from badger.datasets.episode_writer import EpisodeWriter
from badger.datasets.minari.reader import MinariFolder
from badger.datasets.minari.writer import MinariWriter
from badger.datasets.writer import Writer
from comms import get_by_name
from tasks import ActionSpace

WRITERS: dict[str, Callable[..., Writer]] = {"hdf5": EpisodeWriter, "minari": MinariWriter}
"""Writers by the name of their format."""


def open_writer(path: Path, out_format: str, action_space: ActionSpace, task: str) -> Writer:
    """A writer of a format.

    Args:
        path: file or folder.
        out_format: one of `WRITERS`.
        action_space: of the task.
        task: its name.

    Raises:
        ValueError: an unknown format.
    """
    return get_by_name(WRITERS, out_format, "out_format")(path, action_space, task)


def open_source(path: Path) -> EpisodeFile | MinariFolder:
    """The episodes in a file, or in a folder of Minari.

    Args:
        path: file or folder.

    Raises:
        FileNotFoundError: there is none.
        DamagedFile: its parts do not fit together.
    """
    return MinariFolder(path) if path.is_dir() else EpisodeFile(path)
