"""The command line: badger train | resume | evaluate | inspect | study | compare | bench | list."""

import inspect
import json as json_format
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
import tyro
from tyro.conf import Positional

from badger import distributed
from badger.act import ACTS
from badger.cli import evaluate as evaluate_command
from badger.cli.flags import name_flags
from badger.cli.inspect import inspect_command
from badger.cli.train import resume_command, train_command
from badger.cli.usage import print_usage
from badger.cli.user_code import user_code
from badger.errors import UntrustedCode
from badger.learners import LEARNERS
from badger.policies.policies import POLICIES
from badger.recipes import RECIPES
from badger.recipes.settings import resolve_device
from badger.runs.signals import signal_number
from badger.sense import SENSES
from badger.study import STUDIES
from badger.version import __version__
from comms import BUSES, TOPOLOGIES, get_by_name
from experts import CORES
from tasks import TASKS

USAGE = """usage: badger COMMAND ...

  badger train RECIPE [--flags]     train a new agent; RECIPE is a registered name or your own module:function
  badger resume RUN                 resume a run from its last checkpoint, bit-exact
  badger evaluate RUN [--flags]     scores on held-out episodes, also with other sizes or lesions
  badger evaluate RUN --grid [...]  all combinations of lists of sizes: a table, CSV and heat maps
  badger inspect RUN                text and pictures of an agent, and damaged lines of its files
  badger study NAME [--flags]       arms x seeds, and a report with intervals; the same command resumes it
  badger compare RUN ... [--flags]  the same report of any runs, from their files alone
  badger bench [CASE ...] [--flags] speed and memory against references; all cases take some minutes
  badger list                       registered recipes, studies and parts
  badger --version

Each has --help. Recipes: {recipes}."""


def main(arguments: list[str] | None = None) -> int:
    """Runs one command of the command line.

    Args:
        arguments: the words after `badger`; default: those of the process.

    Returns:
        The exit code: 0, 1 for an error, 2 for a wrong command line, 128 + a signal's number: 130 for Ctrl-C.
    """
    argv = sys.argv[1:] if arguments is None else arguments
    commands = {
        "train": train_command, "resume": resume_command, "evaluate": _evaluate, "inspect": inspect_command,
        "study": _study, "compare": _compare, "bench": _bench, "list": _list,
    }  # fmt: skip
    if argv == ["--version"]:
        print(f"badger-agents {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        return print_usage(argv, USAGE.format(recipes=", ".join(RECIPES)))
    try:
        command = get_by_name(commands, argv[0], "command")
    except ValueError as error:
        print(f"badger: {error}", file=sys.stderr)
        return 2
    if "OMP_NUM_THREADS" not in os.environ:  # small tensors: threads would wait more than they work
        torch.set_num_threads(1)
    try:
        with user_code(), distributed.process_group():
            return command(argv[1:])
    except KeyboardInterrupt as stop:
        with suppress(OSError):  # the terminal may be closed, which is then the reason
            print(f"\nbadger: {str(stop) or 'stopped'}", file=sys.stderr, flush=True)
        return 128 + signal_number(stop)
    except (ValueError, OSError, RuntimeError, IndexError, TypeError, ImportError) as error:
        if os.environ.get("BADGER_DEBUG"):
            raise
        message = name_flags(str(error), argv)
        if isinstance(error, UntrustedCode) and argv[0] in ("resume", "evaluate", "inspect"):
            message += f". The command is then\n        badger {shlex.join([*argv, '--trust-code'])}"
        print(f"badger: {message}\n        (BADGER_DEBUG=1 shows where)", file=sys.stderr)
        return 1


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
    from badger.bench import BENCHMARKS, as_json, bench, table, versions  # what only this command needs

    def benchmark(
        cases: Positional[tuple[str, ...]] = (),
        *,
        device: str = "cpu",
        json: Path | None = None,
        threads: int | None = None,
    ) -> int:
        """Measure this library and references alternately, in one process; print a table for BENCHMARKS.md.

        Benchmarks: {cases}, or your own module:function.

        Args:
            cases: names of benchmarks; default: all.
            device: cpu, cuda, or auto: cuda where there is one.
            json: file for the results, rewritten after each of them.
            threads: of torch; default: OMP_NUM_THREADS, or 1.
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

    benchmark.__doc__ = (benchmark.__doc__ or "").format(cases=", ".join(BENCHMARKS))
    return tyro.cli(benchmark, args=words, prog="badger bench")


def _list(words: list[str]) -> int:
    if words:
        return print_usage(words, "usage: badger list")
    from badger.bench import BENCHMARKS  # needed by this command only

    described = {
        "recipes": {name: (inspect.getdoc(recipe) or "").splitlines()[0] for name, recipe in RECIPES.items()},
        "studies": {name: study.claim for name, study in STUDIES.items()},
    }
    width = 2 + max(len(name) for names in described.values() for name in names)
    for kind, lines in described.items():
        print(kind)
        for name, line in lines.items():
            print(f"  {name:<{width}}{line}")
    registries: dict[str, Mapping[str, Any]] = {
        "cores": CORES, "senses": SENSES, "buses": BUSES, "topologies": TOPOLOGIES, "acts": ACTS, "tasks": TASKS,
        "learners": LEARNERS, "policies": POLICIES, "benchmarks": BENCHMARKS,
    }  # fmt: skip
    for kind, registry in registries.items():
        print(f"{kind:<{width + 2}}{', '.join(registry)}")
    print("\nA flag that names a part takes one of these names or module:name; --help shows the options of the part.")
    return 0
