"""A run is a learner on its way to a number of outer steps, and a folder that holds all there is to know of it.

run.json        recipe, arguments, defaults of the others, versions, git commit
metrics.jsonl   a line for each outer step
events.*        for TensorBoard; projector_config.pbtxt and STEP/experts/ for its projector, when the training has ended
checkpoints/    step_00000100.pt ..., the last few, and best.pt
"""

import json
import platform
import subprocess
import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from badger.learners import Learner
from badger.learners.population import member_learners
from badger.registry import references
from badger.runs import checkpoint
from badger.version import __version__

LAST_OF_0_1 = "53bf7fa"  # the commit that reads the run folders of version 0.1
SMOOTHING = 0.95  # of the exponential moving averages, a step


class RunExists(FileExistsError):
    """A folder holds a run already."""


class Diverged(RuntimeError):
    """A loss or gradient was not finite. No such update reached the parameters."""


class Run:
    """A learner, its goal, and where it is kept.

    A run made by a recipe (`badger.build`) knows how it was made, so `badger.load_run(path)` makes it again. A run
    built by hand is saved all the same, and loaded with `badger.load_run(path, build=fn)`.

    Args:
        learner: see `badger.learners.Learner`.
        outer_steps: the goal of `train`.
        folder: where the run is kept; None: nowhere, the metrics stay in `history`.
        log_every: outer steps between two looks at the device. save_every: between two checkpoints.
        inspect_every: between two evaluations with pictures for TensorBoard; None: 5 in a run.
        keep_checkpoints: how many of the last checkpoints stay.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        outer_steps: int,
        folder: str | Path | None = None,
        log_every: int = 20,
        save_every: int = 100,
        inspect_every: int | None = None,
        keep_checkpoints: int = 3,
    ):
        inspect_every = max(1, outer_steps // 5) if inspect_every is None else inspect_every
        sizes = {
            "outer_steps": outer_steps,
            "log_every": log_every,
            "save_every": save_every,
            "keep_checkpoints": keep_checkpoints,
        }
        for name, size in (sizes | {"inspect_every": inspect_every}).items():
            if size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        self.learner, self.outer_steps = learner, outer_steps
        self.folder = None if folder is None else Path(folder)
        self.log_every, self.save_every, self.keep_checkpoints = log_every, save_every, keep_checkpoints
        self.inspect_every = inspect_every
        self.recipe: str | None = None
        self.arguments: dict[str, Any] = {}  # that the recipe was given
        self.defaults: dict[str, Any] = {}  # of its other arguments, as they were then
        self.averages: dict[str, float] = {}  # of return and score, over outer steps
        self.best: float | None = None  # the highest averaged return at a checkpoint
        self.seconds = 0.0  # of training
        self.history: list[dict[str, Any]] = []  # metrics of each outer step, where there is no folder
        self.processes: int | None = None  # that trained together for the last checkpoint
        self._own: Path | None = None  # the folder that this run has made, or was loaded from

    @property
    def step(self) -> int:
        """Outer steps done."""
        return self.learner.step

    @property
    def device(self) -> torch.device:
        return next(self.learner.agent.parameters()).device

    @property
    def configuration(self) -> dict[str, Any]:
        """The recipe and all its arguments, defaults included; {} of a run built by hand."""
        return {"recipe": self.recipe, **self.defaults, **self.arguments} if self.recipe else {}

    def shell_command(self, command: str) -> str:
        """`badger COMMAND FOLDER`, with --trust-code where run.json names code of others."""
        trust = " --trust-code" if any(references([self.recipe, self.arguments, self.defaults])) else ""
        return f"badger {command} {self.folder}{trust}"

    def create(self) -> None:
        """Makes the folder; nothing to do for one that this run has made, or was loaded from.

        Raises:
            RunExists: it holds another run. ValueError: the run has no folder, or arguments that JSON does not know.
        """
        folder = self._somewhere()
        if (folder / "run.json").exists():
            if folder == self._own:
                return
            raise RunExists(
                f"{folder} holds a run already; continue it with `badger resume {folder}`, or choose another folder"
            )
        task = self.learner.task
        about = {
            "recipe": self.recipe,
            "arguments": self.arguments,
            "defaults": self.defaults,
            "outer_steps": self.outer_steps,
            "seeds": [learner.seed for learner in member_learners(self.learner)],
            "task": {"score": task.score, "better": task.better, "references": task.references(), "notes": task.notes},
            "versions": versions(),
            "git_commit": git_commit(),
        }
        try:
            text = json.dumps(about, indent=2) + "\n"
        except TypeError as error:
            raise ValueError(f"the arguments of {self.recipe} go into run.json as JSON, but {error}") from error
        folder.mkdir(parents=True, exist_ok=True)
        checkpoint.atomic_write(folder / "run.json", text.encode())
        self._own = folder

    def save(self) -> Path:
        """Writes a checkpoint of this moment.

        Raises:
            OSError: it could not be written (a full disk, say); the former checkpoints are intact.
            RunExists: the folder holds another run.
        """
        self.create()
        score = self.averages.get("return")
        best = score is not None and (self.best is None or score > self.best)
        top = score if best else self.best
        content = {
            "recipe": self.recipe,
            "arguments": json.dumps(self.arguments),
            "averages": self.averages,
            "best": top,
            "seconds": self.seconds,
            "processes": self.processes,
            "learner": self.learner.state_dict(),
        }
        file = checkpoint.write(
            self._somewhere() / "checkpoints", self.step, content, keep=self.keep_checkpoints, best=best
        )
        self.best = top
        return file

    def restore(self, folder: Path, *, best: bool = False) -> None:
        """Loads the state of the last good checkpoint of a folder, or of its best; a warning names damaged ones.

        The run is kept in that folder from then on; with `best` it is trained on in another folder only. Without any
        checkpoint (stopped before the first one) it stays as it is.

        Raises:
            ValueError: there are checkpoints, but no good one; or no best one.
        """
        self.folder, self._own = folder, None if best else folder
        files = folder / "checkpoints"
        if best:
            candidates = [files / "best.pt"]
        else:
            candidates = [checkpoint.path(files, step) for step in reversed(checkpoint.saved_steps(files))]
        problems = []
        for file in candidates:
            try:
                self._restore(file)
            except (ValueError, OSError, RuntimeError, KeyError) as error:
                problems.append(f"{file.name}: {error}")
                continue
            if problems:
                warnings.warn(f"used {file}, for {'; '.join(problems)}", stacklevel=3)
            return
        if problems:
            raise ValueError(f"{folder} has no good checkpoint. " + "; ".join(problems))

    def _restore(self, file: Path) -> None:
        content = checkpoint.read(file, self.device)
        made = (content["recipe"], json.loads(content["arguments"]))
        if made != (self.recipe, self.arguments):
            raise checkpoint.CorruptCheckpoint(
                f"it was made by {made[0]} {made[1]}, and this run by {self.recipe} {self.arguments}"
            )
        self.learner.load_state_dict(content["learner"])
        self.averages, self.best, self.seconds = content["averages"], content["best"], content["seconds"]
        self.processes = content["processes"]

    def _somewhere(self) -> Path:
        if self.folder is None:
            raise ValueError('this run has no folder to be kept in; set run.folder = "runs/my-run"')
        return self.folder


class Description(NamedTuple):
    """What run.json says of how a run was made. recipe: None of a run built by hand."""

    recipe: str | None
    arguments: dict[str, Any]
    defaults: dict[str, Any]
    outer_steps: int
    seeds: list[int]
    task: dict[str, Any]

    @property
    def configuration(self) -> dict[str, Any]:
        """The recipe and all its arguments, defaults included; {} of a run built by hand."""
        return {"recipe": self.recipe, **self.defaults, **self.arguments} if self.recipe else {}


def read_description(folder: str | Path) -> Description:
    """Reads and checks the run.json of a run folder; executes nothing.

    Raises:
        FileNotFoundError: no run there. ValueError: run.json is damaged, or was written by version 0.1.
    """
    file = Path(folder) / "run.json"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no run: there is no {file}")
    try:
        about = json.loads(file.read_text())
        recipe, arguments, versions = about["recipe"], dict(about["arguments"]), dict(about.get("versions", {}))
        defaults = dict(about.get("defaults", {}))
        facts = int(about.get("outer_steps", 0)), list(about.get("seeds", [])), dict(about.get("task", {}))
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(f"{file} is damaged: {error}. Each checkpoint holds recipe and arguments, too") from error
    version = str(versions.get("badger", "0.1.0"))  # which 0.1 did not write down
    if version.startswith("0.1."):
        raise ValueError(
            f"{folder} was written by badger-agents {version}; read it with commit {LAST_OF_0_1} (the last of 0.1) "
            "or train it anew"
        )
    return Description(recipe, arguments, defaults, *facts)


def versions() -> dict[str, str]:
    """Of this library, and of what it computes with."""
    return {
        "badger": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
    }


def git_commit() -> str | None:
    """The commit of the code that runs, where it is run from a git checkout."""
    here = Path(__file__).parent
    try:
        answer = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout: there is no commit to tell
        return None
    return answer.stdout.strip()
