"""Checks of the paths that flags name, before the work whose result is written there."""

import os
from pathlib import Path


def check_output_file(flag: str, file: Path | None) -> None:
    """Checks that a file can be written.

    Args:
        flag: that names it.
        file: the path; None: nothing is written.

    Raises:
        ValueError: a folder, or a file in a folder that does not exist or cannot be written.
    """
    if file is None:
        return
    if file.is_dir():
        raise ValueError(f"--{flag} {file}: want a file, this is a folder")
    if not file.parent.is_dir():
        raise ValueError(f"--{flag} {file}: want a file in a folder that exists, there is no {file.parent}")
    if not os.access(file if file.exists() else file.parent, os.W_OK):
        raise ValueError(f"--{flag} {file}: want a file that can be written, permission is denied")


def check_output_folder(flag: str, folder: Path | None) -> None:
    """Checks that a folder exists and can be written, or can be made.

    Args:
        flag: that names it.
        folder: the path; None: the command chooses one.

    Raises:
        ValueError: a file, a folder below a file, or one in which nothing can be written.
    """
    if folder is None:
        return
    existing = next(path for path in (folder.absolute(), *folder.absolute().parents) if path.exists())
    if not existing.is_dir():
        raise ValueError(f"--{flag} {folder}: want a folder, {existing} is a file")
    if not os.access(existing, os.W_OK | os.X_OK):
        raise ValueError(f"--{flag} {folder}: want a folder that can be written, {existing} cannot")
