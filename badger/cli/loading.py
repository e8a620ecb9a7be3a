"""Loading of a run folder by a command."""

import inspect
from pathlib import Path

from badger.learners import Learner
from badger.learners.population import member_learners
from badger.recipes.build import load_run
from badger.registry import resolve_name
from badger.runs.run import Run, read_description
from badger.trust import ALL


def choose_member(run: Run, member: int) -> Learner:
    """A learner of the run: one of its population, or the only one.

    Args:
        run: a loaded run.
        member: index, from 0 on.

    Raises:
        ValueError: no such member.
    """
    learners = member_learners(run.learner)
    if not 0 <= member < len(learners):
        raise ValueError(f"--member {member}: the run has {len(learners)} members, want 0 to {len(learners) - 1}")
    return learners[member]


def load(
    folder: Path,
    *,
    best: bool = False,
    build: str | None = None,
    trust_code: bool = False,
    total_steps: int | None = None,
) -> Run:
    """Loads a run folder.

    Args:
        folder: of the run.
        best: loads the best checkpoint instead of the last one.
        build: `module:function` that returns the untrained run, for a run that was built without a recipe.
        trust_code: allows importing any code that its run.json names.
        total_steps: as in `badger.load_run`.

    Raises:
        FileNotFoundError: the folder has no run.
        UntrustedCode: its run.json names code of others.
        DamagedFile: a file is damaged, or there is no valid checkpoint.
        ValueError: there is neither a recipe nor `build`.
    """
    if build is None and read_description(folder).recipe is None:
        raise ValueError(
            f"{folder} was built without a recipe; give --build module:function, a function without arguments that "
            "returns the untrained run"
        )
    if build is not None and ":" not in build:
        raise ValueError(f"--build {build}: want module:function")
    function = None if build is None else resolve_name({}, build, "function", inspect.isfunction)
    return load_run(folder, function, best, (ALL,) if trust_code else (), total_steps=total_steps)
