"""How commands load a run folder."""

from pathlib import Path

from badger.recipes.build import load_run, referenced_modules
from badger.runs.run import Run


def load(folder: Path, *, best: bool = False, trust_code: bool = False) -> Run:
    """The run of that folder. trust_code: code that its run.json names as `module:name` may be imported."""
    return load_run(folder, best=best, trusted=referenced_modules(folder) if trust_code else ())
