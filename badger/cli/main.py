"""The command line: badger train | resume | evaluate | record | inspect | study | compare | bench | solve | list."""

import inspect
import os
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import torch

from badger import distributed
from badger.act import ACTS
from badger.cli import evaluate as evaluate_command
from badger.cli.inspect import inspect_command
from badger.cli.train import resume_command, train_command
from badger.cli.typed import name_flags
from badger.cli.usage import Command, HelpPrinted, UsageError, Work, prepare, print_usage, warnings_in_one_line
from badger.cli.user_code import user_code
from badger.errors import UntrustedCode
from badger.host_memory import out_of_memory_message
from badger.learners import LEARNERS
from badger.policies.policies import POLICIES
from badger.recipes import RECIPES
from badger.runs.signals import signal_number
from badger.sense import SENSES
from badger.study import STUDIES
from badger.study.simulations import SIMULATIONS
from badger.version import __version__
from comms import BUSES, TOPOLOGIES, get_by_name
from experts import CORES
from experts.kernels import library as kernels
from tasks import TASKS

USAGE = """usage: badger COMMAND ...

  badger train RECIPE [--flags]     train a new agent; RECIPE is a registered name or your own module:function
  badger resume RUN                 resume a run from its last checkpoint, bit-exact
  badger evaluate RUN [--flags]     scores on held-out episodes, also with other sizes or lesions
  badger evaluate RUN --grid [...]  all combinations of lists of sizes: a table, CSV and heat maps
  badger record RUN --out data.h5   episodes of a trained agent, or of random actions, in a file to learn from
  badger inspect RUN                text and pictures of an agent, and damaged lines of its files
  badger inspect data.h5            statistics and a picture of recorded episodes, and damaged steps
  badger study NAME [--flags]       arms x seeds, and a report with intervals; the same command resumes it
  badger compare RUN ... [--flags]  the same report of any runs, from their files alone
  badger bench [CASE ...] [--flags] speed and memory against references; all cases take some minutes
  badger solve FILE [--flags]       value and policy of a POMDP: a file in Cassandra's format, or a classic
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
    commands: dict[str, Command] = {
        "train": train_command, "resume": resume_command, "evaluate": _evaluate, "record": _record,
        "inspect": inspect_command, "study": _study, "compare": _compare, "bench": _bench, "solve": _solve,
        "list": _list,
    }  # fmt: skip
    if argv == ["--version"]:
        print(f"badger-agents {__version__}")
        return 0
    if not argv or argv[0] in ("-h", "--help"):
        return print_usage(argv, USAGE.format(recipes=", ".join(RECIPES)))()
    try:
        command = get_by_name(commands, argv[0], "command")
    except ValueError as error:
        print(f"badger: {error}", file=sys.stderr)
        return 2
    if "OMP_NUM_THREADS" not in os.environ:  # small tensors: threads would wait more than they work
        torch.set_num_threads(1)
    try:
        with warnings_in_one_line(), user_code(), distributed.process_group():
            return prepare(command, argv[1:])()
    except KeyboardInterrupt as stop:
        with suppress(OSError):  # the terminal may be closed, which is then the reason
            print(f"\nbadger: {str(stop) or 'stopped'}", file=sys.stderr, flush=True)
        return 128 + signal_number(stop)
    except HelpPrinted:
        return 0
    except UsageError as error:
        print(f"badger: {error}", file=sys.stderr)
        return 2
    except (
        ValueError,
        OSError,
        RuntimeError,
        LookupError,
        TypeError,
        ImportError,
        MemoryError,
        ArithmeticError,
    ) as error:
        if os.environ.get("BADGER_DEBUG"):
            raise
        message = out_of_memory_message(error) or name_flags(str(error), argv[1:])
        if isinstance(error, UntrustedCode) and argv[0] in ("resume", "evaluate", "record", "inspect"):
            message += f". The command is then\n        badger {shlex.join([*argv, '--trust-code'])}"
        print(f"badger: {message}\n        (BADGER_DEBUG=1 shows where)", file=sys.stderr)
        return 1


def _evaluate(words: list[str]) -> Work:
    if "--grid" in words:
        from badger.cli import grid as grid_command  # what only this needs

        return grid_command.command([word for word in words if word != "--grid"])
    return evaluate_command.command(words)


def _record(words: list[str]) -> Work:
    from badger.cli.episodes import record as commands  # what only this command needs

    return commands.record_command(words)


def _study(words: list[str]) -> Work:
    from badger.cli.studies import study as commands  # what only this command needs

    return commands.study(words)


def _compare(words: list[str]) -> Work:
    from badger.cli.studies import study as commands

    return commands.compare(words)


def _bench(words: list[str]) -> Work:
    from badger.cli import bench as commands

    return commands.bench_command(words)


def _solve(words: list[str]) -> Work:
    from badger.cli import solve as commands

    return commands.solve_command(words)


def _list(words: list[str]) -> Work:
    return print_usage(words, "usage: badger list") if words else _print_names


def _print_names() -> int:
    from badger.bench import BENCHMARKS  # needed by this command only

    described = {
        "recipes": {name: (inspect.getdoc(recipe) or "").splitlines()[0] for name, recipe in RECIPES.items()},
        "studies": {name: study.claim for name, study in (STUDIES | SIMULATIONS).items()},
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
    print(f"{'kernels':<{width + 2}}{kernels.description()}")
    print("\nA flag that names a part takes one of these names or module:name; --help shows the options of the part.")
    return 0
