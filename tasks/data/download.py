"""Data set files from a local folder, or downloaded once from one of several mirrors."""

import os
from pathlib import Path
from typing import NamedTuple

DATA_ENV_VAR = "BADGER_DATA"  # the environment variable with the folder of data sets


class DataSource(NamedTuple):
    """Name, files and mirrors of a data set.

    Args:
        name: the name of its folder.
        checksums: file name -> checksum of the downloaded file: md5, or with a prefix, such as "sha256:...".
        mirrors: URLs of folders with these files.
    """

    name: str
    checksums: dict[str, str]
    mirrors: tuple[str, ...]

    def checksum(self, file: str) -> str:
        """The checksum of a file with the prefix of its algorithm."""
        return self.checksums[file] if ":" in self.checksums[file] else f"md5:{self.checksums[file]}"

    def __str__(self) -> str:
        return "\n".join(f"  {file}  {self.checksum(file).replace(':', ' ')}" for file in self.checksums)


def find_or_download(source: DataSource, names: tuple[str, ...], folder: str | Path | None = None) -> list[Path]:
    """Paths of data set files: from `folder`, or from $BADGER_DATA or its subfolder `source.name`, or downloaded.

    A .gz file may be unpacked. Checksums of local files are not verified, so that other data sets in the same format
    can be used; the reader checks their content.

    Args:
        source: the data set.
        names: the names of the files.
        folder: the only folder to search; None: $BADGER_DATA, then the mirrors.

    Raises:
        FileNotFoundError: files are missing; lists them, the folders searched, and what to do.
    """
    env_dir = os.environ.get(DATA_ENV_VAR)
    roots = [Path(env_dir), Path(env_dir) / source.name] if env_dir else []
    for root in roots if folder is None else [Path(folder)]:
        paths = {name: path for name in names if (path := _find_file(root, name))}
        if len(paths) == len(names):
            return list(paths.values())
        if paths or folder is not None:  # files of two folders could be of two data sets
            missing = [name for name in names if name not in paths]
            raise FileNotFoundError(f"{', '.join(missing)} not in {root.resolve()}; {_advice(source)}")
    return [_download(source, name, roots) for name in names]


def _find_file(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / name.removesuffix(".gz")) if path.is_file()), None)


def _download(source: DataSource, name: str, roots: list[Path]) -> Path:
    searched = f"${DATA_ENV_VAR} " + (f"({' and '.join(map(str, roots))})" if roots else "(which is not set)")
    try:
        import pooch
    except ImportError as error:
        raise FileNotFoundError(
            f"{name} not in {searched}, and downloads need pooch: pip install pooch; or {_advice(source)}"
        ) from error
    cache, failed = pooch.os_cache("badger-agents") / source.name, []
    for mirror in source.mirrors:
        try:
            return Path(pooch.retrieve(mirror + name, source.checksum(name), fname=name, path=cache))
        except (OSError, ValueError) as error:  # no network or no such file; wrong checksum
            failed.append(f"  {mirror}{name}: {type(error).__name__}: {error}")
    raise FileNotFoundError(
        f"{name} is neither in {searched} nor in {cache}, and could not be downloaded; {_advice(source)}\n"
        + "\n".join(["tried:", *failed])
    )


def _advice(source: DataSource) -> str:
    return (
        f"put these files, packed or unpacked, into a folder and set data_dir or ${DATA_ENV_VAR} to it "
        f"(or to the parent of a folder {source.name}):\n{source}"
    )
