"""Load a run folder for a command."""

import inspect
from pathlib import Path

from badger.recipes.build import load_run, referenced_modules
from badger.registry import resolve_name
from badger.runs.run import Run, read_description


def load(folder: Path, *, best: bool = False, build: str | None = None, trust_code: bool = False) -> Run:
    """The run of that folder.

    Args:
        folder: of the run.
        best: its best checkpoint, not the last one.
        build: `module:function` that builds the run, for one that no recipe has made.
        trust_code: code that its run.json names as `module:name` may be imported.

    Raises:
        FileNotFoundError: no run there.
        ValueError: no recipe and no `build`, code that is not trusted, or no good checkpoint.
    """
    if build is None and read_description(folder).recipe is None:
        raise ValueError(
            f"{folder} was built by hand, not by a recipe; say how with --build module:function, a function without "
            "arguments that returns the untrained run"
        )
    function = None if build is None else resolve_name({}, build, "function", inspect.isfunction)
    return load_run(folder, function, best, referenced_modules(folder) if trust_code else ())
