"""A run: a learner, its number of outer steps, and the folder where everything about it is saved.

run.json        recipe, its arguments, defaults and what it has resolved, seeds, task, versions, git commit
metrics.jsonl   a line for each outer step
.lock           held by the process that trains; .lock.json says which
events.*        for TensorBoard; and for its projector, at the end of training, projector_config.pbtxt, STEP/experts/
checkpoints/    the last few, step_00000100.pt ..., and best.pt
"""

import json
import os
import platform
import subprocess
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict

import numpy as np
import torch

from badger import distributed
from badger.errors import DamagedFile, RunLocked
from badger.learners import Learner
from badger.learners.population import member_learners
from badger.runs import checkpoint
from badger.runs.best import BestFigure, RecentReturns
from badger.runs.files import as_path, atomic_write, check_new_run_folder
from badger.runs.json_files import REQUIRED, check_fields, read_json
from badger.runs.lock import write_lock
from badger.trust import code_names
from badger.version import __version__
from experts.kernels import library as kernels

LAST_OF_0_1 = "53bf7fa"
"""The last commit that reads the run folders of version 0.1."""
SMOOTHING = 0.95
"""The decay of the exponential moving averages of metrics, for each outer step."""


class Budget(NamedTuple):
    """The length of a training.

    Args:
        outer_steps: of the run.
        schedule: the learning rate at each of them; None: the learner has none.
    """

    outer_steps: int
    schedule: Callable[[int], float] | None


class Run:
    """A learner, the number of outer steps to train, and the folder of its metrics and checkpoints.

    A run from a recipe (`badger.build_run`) saves the recipe and its arguments, and `badger.load_run(path)` rebuilds
    it. A run that was built by hand is loaded with `badger.load_run(path, build=fn)`.

    Args:
        learner: a `badger.learners.Learner`.
        outer_steps: the number of outer steps after which `train` ends.
        folder: the run folder; None: nothing is saved, and the metrics are in `history`.
        log_every: outer steps between two transfers of metrics from the device.
        save_every: outer steps between two checkpoints.
        evaluate_every: outer steps between two evaluations on held-out episodes, always the same, which then decide
            best.pt; None: the returns of the training decide.
        inspect_every: outer steps between two inspections of the agent for TensorBoard; None: 5 in the whole run.
        keep_checkpoints: number of checkpoints to keep.

    Raises:
        ValueError: a number below 1, or an empty path.
    """

    def __init__(
        self,
        learner: Learner,
        *,
        outer_steps: int,
        folder: str | os.PathLike[str] | None = None,
        log_every: int = 20,
        save_every: int = 100,
        evaluate_every: int | None = None,
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
        for name, size in (sizes | {"inspect_every": inspect_every, "evaluate_every": evaluate_every}).items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1")
        self.learner, self.outer_steps = learner, outer_steps
        self.folder = folder
        self.log_every, self.save_every, self.keep_checkpoints = log_every, save_every, keep_checkpoints
        self.inspect_every, self.evaluate_every = inspect_every, evaluate_every
        self.recipe: str | None = None
        self.arguments: dict[str, Any] = {}  # of the recipe
        self.defaults: dict[str, Any] = {}  # of its other arguments, when the run was built
        self.resolved: dict[str, Any] = {}  # arguments that the recipe itself has determined, such as from data
        self.averages: dict[str, float] = {}  # exponential moving averages of return and score
        self.returns = RecentReturns()  # of the last episodes that have ended
        self.best: BestFigure | None = None  # the figure of best.pt
        self.seconds = 0.0  # of training
        self.start_step = 0  # outer steps done when the folder was created: those of a checkpoint of another run
        self.history: list[dict[str, Any]] = []  # metrics of each outer step, without a folder
        self.platform: dict[str, Any] = {}  # on which the last checkpoint was saved
        self.extended_from: Budget | None = None  # what the run had before `load_run` gave it more outer steps
        self._own_folder: Path | None = None  # the folder that this run has created, or was loaded from
        self._newest: tuple[int, ...] = ()  # the newest checkpoint there, when last seen
        self._writing = False

    @property
    def step(self) -> int:
        """The number of outer steps done."""
        return self.learner.step

    @property
    def folder(self) -> Path | None:
        """The run folder; None: nothing is saved. Any path may be assigned, as a string, too."""
        return self._folder

    @folder.setter
    def folder(self, folder: str | os.PathLike[str] | None) -> None:
        self._folder = None if folder is None else as_path(folder)

    @property
    def device(self) -> torch.device:
        """The device of the agent."""
        return next(self.learner.agent.parameters()).device

    @property
    def configuration(self) -> dict[str, Any]:
        """The recipe and all its arguments with defaults; {} for a run that was built by hand."""
        return {"recipe": self.recipe, **self.defaults, **self.arguments, **self.resolved} if self.recipe else {}

    def shell_command(self, command: str) -> str:
        """The command line `badger COMMAND FOLDER`, with --trust-code where run.json names code of other packages.

        Args:
            command: such as "resume".
        """
        trust = " --trust-code" if code_names(self.recipe, self.arguments, self.defaults, self.resolved) else ""
        return f"badger {command} {self.folder}{trust}"

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Context in which this process alone writes to the folder, which has a run.json; may be nested.

        Raises:
            RunExists: the folder has another run.
            RunLocked: another process writes there, or has done so since this run was loaded or saved.
        """
        if self._writing:
            yield
            return
        folder = self._required_folder()
        self._check_folder(folder)
        folder.mkdir(parents=True, exist_ok=True)
        with write_lock(folder):
            self._check_unchanged(folder)
            self.create()
            self._writing = True
            try:
                yield
            finally:
                self._writing = False

    def _check_folder(self, folder: Path) -> None:
        if folder != self._own_folder:
            check_new_run_folder(folder)

    def _check_unchanged(self, folder: Path) -> None:
        newest = _newest(folder)
        if folder == self._own_folder and newest != self._newest:
            raise RunLocked(
                f"another process has trained {folder} to outer step {newest[0] if newest else 0} since it was loaded "
                f"here, at outer step {self.step}; load it again",
                folder=folder,
            )

    def create(self) -> None:
        """Creates the folder and run.json, unless this run has created it before, or was loaded from it.

        Raises:
            RunExists: the folder has another run, or files of others.
            ValueError: the run has no folder, or an argument that JSON cannot represent.
        """
        folder = self._required_folder()
        self._check_folder(folder)
        if (folder / "run.json").exists():
            return
        task = self.learner.task
        about = {
            "recipe": self.recipe,
            "arguments": self.arguments,
            "defaults": self.defaults,
            "resolved": self.resolved,
            "outer_steps": self.outer_steps,
            "seeds": [learner.seed for learner in member_learners(self.learner)],
            "task": {"score": task.score, "better": task.better, "references": task.references(), "notes": task.notes},
            "versions": versions(),
            "platform": platform_facts(self.device),
            "git_commit": git_commit(),
        }
        try:
            text = json.dumps(about, indent=2) + "\n"
        except TypeError as error:
            raise ValueError(f"the arguments of {self.recipe} must be valid JSON, for run.json, but {error}") from error
        folder.mkdir(parents=True, exist_ok=True)
        atomic_write(folder / "run.json", text.encode())
        self._own_folder, self._newest = folder, _newest(folder)
        self.start_step, self.best = self.step, None  # there is no best.pt yet

    def is_evaluated(self) -> bool:
        """Whether an evaluation is due after the current outer step."""
        return self.evaluate_every is not None and self.step % self.evaluate_every == 0

    def save_extension(self) -> None:
        """Writes the present number of outer steps into run.json, so that the run is loaded with it.

        Raises:
            RunLocked: another process writes there.
        """
        with self.writing():
            file = self._required_folder() / "run.json"
            about = json.loads(file.read_text(encoding="utf-8")) | {"extended_to": self.outer_steps}
            atomic_write(file, (json.dumps(about, indent=2) + "\n").encode())

    def save(self, evaluated: BestFigure | None = None) -> Path:
        """Writes a checkpoint of the current outer step; returns its file.

        Args:
            evaluated: the figure of an evaluation of the current agent; only such figures count with `evaluate_every`.

        Raises:
            OSError: it could not be written (a full disk, say); existing checkpoints are intact.
            RunExists: the folder has another run.
            RunLocked: another process writes there.
        """
        with self.writing():
            self.create()  # again, where the folder was removed in the meantime
            folder = self._required_folder()
            figure = evaluated if self.evaluate_every is not None else self.returns.figure()
            best = figure is not None and figure.is_better_than(self.best)
            top = figure if best else self.best
            content = {
                "recipe": self.recipe,
                "arguments": json.dumps(self.arguments),
                "averages": self.averages,
                "returns": self.returns.pack(),
                "best": None if top is None else top._asdict(),
                "seconds": self.seconds,
                "start_step": self.start_step,
                "platform": platform_facts(self.device),
                "learner": self.learner.state_dict(),
            }
            file = checkpoint.write(folder / "checkpoints", self.step, content, keep=self.keep_checkpoints, best=best)
        self.best, self._newest = top, _newest(folder)
        return file

    def restore(self, folder: str | os.PathLike[str], *, best: bool = False) -> None:
        """Loads the last valid checkpoint of a run folder; a warning names damaged ones.

        The folder becomes that of this run. A folder without any checkpoint changes nothing else.

        Args:
            folder: the run folder.
            best: load best.pt instead; to continue training, the run then needs another folder.

        Raises:
            DamagedFile: no checkpoint is valid, or there is no best one.
        """
        folder = as_path(folder)
        self.folder, self._own_folder, self._newest = folder, None if best else folder, _newest(folder)
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
                warnings.warn(f"loaded {file}, because of {'; '.join(problems)}", stacklevel=3)
            return
        if problems:
            raise DamagedFile(f"{folder} has no valid checkpoint: " + "; ".join(problems), file=candidates[0])

    def _restore(self, file: Path) -> None:
        content = checkpoint.read(file, self.device)
        recipe, arguments = content["recipe"], json.loads(content["arguments"])
        if (recipe, arguments) != (self.recipe, self.arguments):
            raise DamagedFile(f"it is a checkpoint of {recipe} {arguments}, want {self.recipe} {self.arguments}")
        with checkpoint.explain_mismatch(file):
            self.learner.load_state_dict(content["learner"])
        check_fields({"step": self.learner.step}, {"step": int}, file, prefix="learner.")
        self.averages, self.seconds = content["averages"], content["seconds"]
        self.returns, best = RecentReturns(content["returns"]), content["best"]
        self.best = None if best is None else BestFigure(best["kind"], best["episodes"], best["value"])
        self.start_step, self.platform = content["start_step"], content["platform"]

    def _required_folder(self) -> Path:
        if self.folder is None:
            raise ValueError('this run has no folder; set run.folder = "runs/my-run"')
        return self.folder


class Description(NamedTuple):
    """The content of run.json: how a run was built.

    Args:
        recipe: name of the recipe; None: the run was built by hand.
        arguments: of the recipe.
        defaults: of its other arguments, when the run was built.
        resolved: arguments that the recipe itself has determined, such as from data; they replace those given.
        outer_steps: number of outer steps to train; 0 if run.json does not have it.
        extended_to: number of outer steps to which the run was extended; None: it was not.
        seeds: of the learner, or of each member of a population.
        task: the task's `score`, `better`, `references` and `notes`.
    """

    recipe: str | None
    arguments: dict[str, Any]
    defaults: dict[str, Any]
    resolved: dict[str, Any]
    outer_steps: int
    extended_to: int | None
    seeds: list[int]
    task: dict[str, Any]

    @property
    def configuration(self) -> dict[str, Any]:
        """The recipe and all its arguments with defaults; {} for a run that was built by hand."""
        return {"recipe": self.recipe, **self.defaults, **self.arguments, **self.resolved} if self.recipe else {}


class TaskFacts(TypedDict, total=False):
    """The field `task` of run.json."""

    score: str
    better: Literal["lower", "higher"]
    references: dict[str, dict[str, float]]
    notes: list[str]


RUN_JSON: dict[str, tuple[Any, Any]] = {
    "recipe": (str | None, REQUIRED),
    "arguments": (dict[str, Any], REQUIRED),
    "defaults": (dict[str, Any], {}),
    "resolved": (dict[str, Any], {}),
    "outer_steps": (int, 0),
    "extended_to": (int | None, None),
    "seeds": (list[int], []),
    "task": (TaskFacts, {}),
    "versions": (dict[str, str], {}),
    "git_commit": (str | None, None),
}
"""The fields of run.json with their types and defaults."""


def read_description(folder: str | os.PathLike[str]) -> Description:
    """Reads and checks the run.json of a run folder; executes nothing.

    Args:
        folder: the run folder.

    Raises:
        FileNotFoundError: the folder has no run.json.
        DamagedFile: run.json is no JSON, or a field is missing or has another type.
        ValueError: it was written by version 0.1.
    """
    file = as_path(folder) / "run.json"
    if not file.exists():
        raise FileNotFoundError(f"{folder} holds no run: there is no {file}")
    about = read_json(file, RUN_JSON, "each checkpoint has recipe and arguments, too")
    version = about["versions"].get("badger", "0.1.0")  # 0.1 did not save it
    if version.startswith("0.1."):
        raise ValueError(
            f"{folder} was written by badger-agents {version}; read it with commit {LAST_OF_0_1} (the last of 0.1) "
            "or train it again"
        )
    return Description(**{name: about[name] for name in Description._fields})


def _newest(folder: Path) -> tuple[int, ...]:
    """The outer step of the newest checkpoint of a run folder, and which file it is; () if there is none."""
    steps = checkpoint.saved_steps(folder / "checkpoints")
    if not steps:
        return ()
    status = os.stat(checkpoint.path(folder / "checkpoints", steps[-1]))
    return steps[-1], status.st_ino, status.st_mtime_ns


def platform_facts(device: torch.device) -> dict[str, Any]:
    """What decides the last digits of all results: equal facts give equal bits.

    Args:
        device: of the agent.
    """
    cuda = device.type == "cuda"
    return {
        "processes": distributed.world_size(),
        "threads": torch.get_num_threads(),
        "torch": str(torch.__version__),
        "device": torch.cuda.get_device_name(device) if cuda else torch.backends.cpu.get_cpu_capability(),
        "kernels": kernels.description(),
    }


def versions() -> dict[str, str]:
    """The versions of this library, Python, torch and numpy, and the compiler of the kernels."""
    return {
        "badger": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "kernels": kernels.description(),
    }


def git_commit() -> str | None:
    """The commit of this library, if it is a git checkout; else None."""
    here = Path(__file__).parent
    try:
        result = subprocess.run(
            ["git", "rev-parse", "HEAD"], cwd=here, capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout
        return None
    return result.stdout.strip()
