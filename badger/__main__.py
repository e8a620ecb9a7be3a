"""The command line: badger train | resume | evaluate | study | compare | bench | list."""

import copy
import dataclasses
import inspect
import json as json_format
import os
import sys
import time
import typing
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

import badger
from badger import distributed, figures
from badger.cli import evaluate as evaluate_command
from badger.cli.evaluate import played, print_scores
from badger.evaluation.evaluate import evaluate
from badger.learners.population import members
from badger.recipes import RECIPES, build, find
from badger.recipes.settings import resolve_device
from badger.rng import generator
from badger.runs.recorder import read_metrics
from badger.runs.run import Diverged, Run
from badger.runs.training import train
from comms import pick

USAGE = """usage: badger COMMAND ...

  badger train RECIPE [--flags]     train a new agent; RECIPE is a name or your own module:function
  badger resume RUN                 go on with a run that was stopped, bit for bit
  badger evaluate RUN [--flags]     how a trained agent does, also with other sizes or lesions
  badger evaluate RUN --grid [...]  with all combinations of lists of sizes: a table, CSV and heat maps
  badger study NAME [--flags]       arms x seeds, and a report with error bars; goes on where it was stopped
  badger compare RUN ... [--flags]  the same report of any runs
  badger bench [CASE ...] [--flags] how fast and how large, against references; all cases take some minutes
  badger list                       recipes, and the names that their flags take

Each has --help. Recipes: {recipes}."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit code: 0, 1 for an error, 2 for a wrong command line, 130 for Ctrl-C."""
    words = sys.argv[1:] if arguments is None else arguments
    commands = {
        "train": _train, "resume": _resume, "evaluate": _evaluate, "study": _study, "compare": _compare,
        "bench": _bench, "list": _list,
    }  # fmt: skip
    if not words or words[0] in ("-h", "--help"):
        return _usage(words, USAGE.format(recipes=", ".join(RECIPES)))
    try:
        command = pick(commands, words[0], "command")
    except ValueError as error:
        print(f"badger: {error}", file=sys.stderr)
        return 2
    sys.path.insert(0, os.getcwd())  # a user's own recipes
    if "OMP_NUM_THREADS" not in os.environ:  # an agent's tensors are small: threads would wait more than they work
        torch.set_num_threads(1)
    try:
        with distributed.process_group():
            return command(words[1:])
    except KeyboardInterrupt as stop:
        print(f"\nbadger: {str(stop) or 'stopped'}", file=sys.stderr)
        return 130
    except (ValueError, OSError, RuntimeError, IndexError, TypeError, ImportError) as error:
        if os.environ.get("BADGER_DEBUG"):
            raise
        print(f"badger: {error}\n        (BADGER_DEBUG=1 shows where)", file=sys.stderr)
        return 1


def _usage(words: list[str], text: str) -> int:
    """Exit code 0 where the words ask for help, 2 where they are wrong."""
    asked = words[:1] in (["-h"], ["--help"])
    print(text, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2


def _train(words: list[str]) -> int:
    if not words or words[0].startswith("-"):
        recipes = f"recipes: {', '.join(RECIPES)}, or your own module:function"
        return _usage(words, f"usage: badger train RECIPE [--flags]; {recipes}")
    recipe = words[0]
    given = dict(vars(tyro.cli(_flags(find(recipe)), args=words[1:], prog=f"badger train {recipe}")))
    stamp = f"{recipe.replace(':', '.')}-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"  # seeds start side by side
    folder, tensorboard = given.pop("folder") or Path("runs") / distributed.of_first(stamp), given.pop("tensorboard")
    run = build(recipe, **given)
    run.folder = folder
    return _go(run, tensorboard)


def _flags(recipe: Callable[..., Run]) -> type:
    """The recipe's keyword arguments and ours, as a dataclass for tyro to fill."""

    def ours(*, folder: Path | None = None, tensorboard: bool = True) -> None: ...

    fields = []
    for function in (recipe, ours):
        hints = typing.get_type_hints(function)
        for name, parameter in inspect.signature(function).parameters.items():
            required = parameter.default is parameter.empty
            default: Any = dataclasses.MISSING if required else partial(copy.copy, parameter.default)
            fields.append((name, hints.get(name, Any), dataclasses.field(default_factory=default)))
    about = (inspect.getdoc(recipe) or recipe.__name__).rstrip()
    about = (about if "Args:" in about else f"{about}\n\nArgs:") + (
        "\n    folder: where the run is kept; runs/RECIPE-DATE-TIME-PROCESS if not given."
        "\n    tensorboard: write events for TensorBoard."
    )
    return dataclasses.make_dataclass("Flags", fields, namespace={"__doc__": about}, kw_only=True)


def _resume(words: list[str]) -> int:
    def resume(run: Positional[Path], *, tensorboard: bool = True) -> int:
        """Go on with a run from its last good checkpoint, to the goal that it was started with.

        Args:
            run: its folder.
            tensorboard: write events for TensorBoard.
        """
        return _go(Run.load(run), tensorboard)

    return tyro.cli(resume, args=words, prog="badger resume")


def _go(run: Run, tensorboard: bool) -> int:
    try:
        train(run, tensorboard=tensorboard)
    except (KeyboardInterrupt, Diverged) as end:
        if distributed.rank() > 0:
            return 0  # all processes end here together: rank 0 saves, speaks, and gives the exit code
        if isinstance(end, KeyboardInterrupt):
            raise KeyboardInterrupt(f"{end}. Go on with: badger resume {run.folder}") from end
        raise
    except distributed.Lost as error:
        raise distributed.Lost(f"{error}. Go on from the last checkpoint with: badger resume {run.folder}") from error
    if distributed.rank() == 0:
        _summarise(run)
    return 0


def _summarise(run: Run) -> None:
    """The score on episodes never met, the lines to judge it by, a picture, and how to see more."""
    task, folder = run.learner.task.unseen, run.folder
    assert folder is not None
    rows, references, learners = read_metrics(folder), task.references(), members(run.learner)
    print(f"\n{run.step} outer steps in {run.seconds:.0f} s of training")
    curves = []
    for learner in learners:
        member = f"/seed_{learner.seed}" if len(learners) > 1 else ""
        due = [row for row in rows if row[f"{task.score}{member}_average"] is not None]
        curves.append(([row["step"] for row in due], [row[f"{task.score}{member}_average"] for row in due]))
        if member:
            bad = sum(not row[f"finite{member}"] for row in rows)
            print(f"seed {learner.seed}" + (f", not finite in {bad} outer steps" if bad else ""))
        rng = generator(learner.seed, "evaluate", device=run.device)
        count = played(task, learner.agent.experts)
        print_scores(evaluate(learner.agent, task, count, rng, learner.policy), references)
    picture = folder / "learning_curve.png"
    drawn = figures.learning_curves({"moving average in training": curves}, references.get(task.score, {}), task.score)
    drawn.savefig(picture)
    print(f"learning curve  {picture}\nlook inside     tensorboard --logdir {folder}")
    print(f"play again      badger evaluate {folder}")


def _evaluate(words: list[str]) -> int:
    if "--grid" in words:
        from badger.cli import grid as grid_command  # what only this needs

        return grid_command.command([word for word in words if word != "--grid"])
    return evaluate_command.command(words)


def _study(words: list[str]) -> int:
    from badger.cli import study as commands  # what only this command needs

    return commands.study(words)


def _compare(words: list[str]) -> int:
    from badger.cli import study as commands

    return commands.compare(words)


def _bench(words: list[str]) -> int:
    from badger.bench import CASES, as_json, bench, table, versions  # what only this command needs

    def benchmark(
        cases: Positional[tuple[str, ...]] = (),
        *,
        device: str = "cpu",
        json: Path | None = None,
        threads: int | None = None,
    ) -> int:
        """Measure ours and the references in turn, in one process; print a table for BENCHMARKS.md.

        Cases: {cases}.

        Args:
            cases: which; all if none is named.
            device: cpu, cuda, or auto: cuda where there is one.
            json: file for the result, written anew after each row.
            threads: of torch; 1 if not given, or OMP_NUM_THREADS.
        """
        if threads is not None:
            torch.set_num_threads(threads)
        where, rows = resolve_device(device), []
        for row in bench(cases, where):
            rows.append(row)
            print(table([row]).splitlines()[-1], file=sys.stderr, flush=True)
            if json is not None:
                json.write_text(json_format.dumps(as_json(rows, where), indent=2) + "\n")
        print(", ".join(f"{name} {value}" for name, value in versions(where).items()), table(rows), sep="\n\n")
        return 0

    benchmark.__doc__ = (benchmark.__doc__ or "").format(cases=", ".join(CASES))
    return tyro.cli(benchmark, args=words, prog="badger bench")


def _list(words: list[str]) -> int:
    if words:
        return _usage(words, "usage: badger list")
    told = {
        "recipes": {name: (inspect.getdoc(recipe) or "").splitlines()[0] for name, recipe in RECIPES.items()},
        "studies": {name: study.claim for name, study in badger.STUDIES.items()},
    }
    width = 2 + max(len(name) for names in told.values() for name in names)
    for kind, lines in told.items():
        print(kind)
        for name, line in lines.items():
            print(f"  {name:<{width}}{line}")
    tables: dict[str, dict[str, Any]] = {
        "cores": badger.CORES, "buses": badger.BUSES, "topologies": badger.TOPOLOGIES, "acts": badger.ACTS,
        "tasks": badger.TASKS, "learners": badger.LEARNERS,
    }  # fmt: skip
    for kind, table in tables.items():
        print(f"{kind:<{width + 2}}{', '.join(table)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
