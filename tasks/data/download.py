"""Files of a data set: in a folder of the user's, or fetched once from one of several mirrors."""

import os
from pathlib import Path
from typing import NamedTuple

DATA_ENV_VAR = "BADGER_DATA"  # the environment variable that names where data sets lie


class DataSource(NamedTuple):
    """Where a data set comes from.

    name: of its folder. checksums: file name -> checksum, as fetched: of md5, or with its kind, such as "sha256:...".
    mirrors: addresses of folders that hold these files.
    """

    name: str
    checksums: dict[str, str]
    mirrors: tuple[str, ...]

    def checksum(self, file: str) -> str:
        """With its kind."""
        return self.checksums[file] if ":" in self.checksums[file] else f"md5:{self.checksums[file]}"

    def __str__(self) -> str:
        return "\n".join(f"  {file}  {self.checksum(file).replace(':', ' ')}" for file in self.checksums)


def find_or_download(source: DataSource, names: tuple[str, ...], folder: str | Path | None = None) -> list[Path]:
    """The files of these names: from `folder` if there is one; else from $BADGER_DATA or its subfolder of the data
    set's name, if any of them lie there; else fetched. A .gz file may lie unpacked.

    What lies in a folder of the user's is taken as it is, so that data sets of one's own work: who reads it checks it.

    Raises:
        FileNotFoundError: names what is missing, where it was looked for, and what to do.
    """
    named = os.environ.get(DATA_ENV_VAR)
    places = [Path(named), Path(named) / source.name] if named else []
    for place in places if folder is None else [Path(folder)]:
        found = {name: path for name in names if (path := _in(place, name))}
        if len(found) == len(names):
            return list(found.values())
        if found or folder is not None:  # files of another place beside these would be a mixture of two data sets
            missing = [name for name in names if name not in found]
            raise FileNotFoundError(f"{', '.join(missing)} not in {place.resolve()}; {_advice(source)}")
    return [_fetched(source, name, places) for name in names]


def _in(folder: Path, name: str) -> Path | None:
    return next((path for path in (folder / name, folder / name.removesuffix(".gz")) if path.is_file()), None)


def _fetched(source: DataSource, name: str, places: list[Path]) -> Path:
    looked = f"${DATA_ENV_VAR} " + (f"({' and '.join(map(str, places))})" if places else "(which is not set)")
    try:
        import pooch
    except ImportError as error:
        raise FileNotFoundError(
            f"{name} not in {looked}, and nothing can be fetched without pooch: pip install pooch; or {_advice(source)}"
        ) from error
    cache, failed = pooch.os_cache("badger-agents") / source.name, []
    for mirror in source.mirrors:
        try:
            return Path(pooch.retrieve(mirror + name, source.checksum(name), fname=name, path=cache))
        except (OSError, ValueError) as error:  # no network or no such file; another checksum
            failed.append(f"  {mirror}{name}: {type(error).__name__}: {error}")
    raise FileNotFoundError(
        f"{name} is neither in {looked} nor in {cache}, and could not be fetched; {_advice(source)}\n"
        + "\n".join(["tried:", *failed])
    )


def _advice(source: DataSource) -> str:
    return (
        f"put these files, packed or unpacked, into a folder and name it as data_dir or in ${DATA_ENV_VAR} "
        f"(or a folder of name {source.name} in it):\n{source}"
    )
