"""Loading of a run folder by a command."""

from pathlib import Path

from badger.recipes.build import load_run, referenced_modules
from badger.runs.run import Run


def load(folder: Path, *, best: bool = False, trust_code: bool = False) -> Run:
    """Loads a run folder.

    Args:
        folder: of the run.
        best: loads the best checkpoint instead of the last one.
        trust_code: allows importing code that its run.json names as `module:name`.
    """
    return load_run(folder, best=best, trusted=referenced_modules(folder) if trust_code else ())
