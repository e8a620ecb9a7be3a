"""Wrong command lines: the one place at which an error becomes the exit code 2, and names what was typed.

A command is a function of its words that parses its flags, builds or loads what they name, checks all of it, and
returns the work that is left as a function. An error before that is a usage error; one in the work is not.
"""

import inspect
import io
import os
import sys
import types
import typing
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import wraps
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

import tyro

from badger.cli.typed import TypedFlag, name_flags, names_a_flag, typed_flags, without_value
from badger.errors import BadgerError, RunExists
from badger.host_memory import limited_memory, out_of_memory_message
from badger.recipes.parts import check_number, type_name
from badger.registry import suggestion

Work: TypeAlias = Callable[[], int]
"""What a command does once its words are checked; returns the exit code."""
Command: TypeAlias = Callable[[list[str]], Work]
"""The words after the command -> its work."""
T = TypeVar("T")
SEPARATOR = "__"  # in a field's name, of a part and its option: core__slots is the flag --core.slots
KINDS: dict[Any, str] = {
    bool: "no value", int: "a whole number", float: "a number", str: "one word", Path: "a path", type(None): "None",
}  # fmt: skip


class UsageError(BadgerError, ValueError):
    """A wrong command line: exit code 2, and one line that names the flag."""


class HelpPrinted(SystemExit):
    """The help of a command was printed, as its words ask for."""


def prepare(command: Command, words: list[str]) -> Work:
    """Checks the words of a command; returns its work.

    Args:
        command: the command.
        words: after the command's name.

    Raises:
        UsageError: wrong words; the message names the flag, its value and what is wanted.
        BadgerError: a file that is damaged, locked or not trusted, of which no flag is the cause.
    """
    try:
        return _checked(command, words)
    except (HelpPrinted, KeyboardInterrupt):
        raise
    except (Exception, SystemExit) as error:  # parts and environments of users may raise anything
        if (isinstance(error, BadgerError) and not isinstance(error, UsageError | RunExists)) or os.environ.get(
            "BADGER_DEBUG"
        ):
            raise
        message = name_flags(describe(error), words)
        if not names_a_flag(message, words):
            cause = _cause(command, words, error)
            message = message if cause is None else f"{cause}: {without_value(message, cause)}"
        raise UsageError(message) from error


def describe(error: BaseException) -> str:
    """The first line of an error's message; of an error that has no clear one, with its type.

    Args:
        error: any error.
    """
    memory = out_of_memory_message(error)
    if memory is not None:
        return memory
    if isinstance(error, SystemExit):
        return f"code that was loaded ended the process: SystemExit: {error.code}"
    text = next(iter(str(error).splitlines()), "")
    clear = isinstance(error, ValueError | OSError | RuntimeError | ImportError) and text
    return text if clear else f"{type(error).__name__}: {text}"


def parse(target: Callable[..., T], words: Sequence[str], *, prog: str) -> T:
    """The result of a function, or the dataclass, whose arguments are parsed from the words.

    Args:
        target: its parameters are the flags; it is called with the values.
        words: the command line.
        prog: the command, for the help text.

    Raises:
        UsageError: an unknown flag, or a value that does not fit its flag.
        HelpPrinted: help was asked for.
    """
    kinds = _kinds(target)
    for flag in typed_flags(words):
        if "" in flag.values and Path in (kinds.get(flag.name), *typing.get_args(kinds.get(flag.name))):
            raise UsageError(f"{flag}: want a path")
    values = _parse_values(target, words, prog)
    for name, value in values.items():
        check_number(name.replace(SEPARATOR, "."), value)
    return target(**values)


def _checked(command: Command, words: list[str]) -> Work:
    with limited_memory():
        return command(words)


def _cause(command: Command, words: list[str], error: BaseException) -> TypedFlag | None:
    """The flag without which the command line is right, or else has another error."""
    others = None
    for flag in reversed(typed_flags(words)):
        try:
            with redirect_stdout(io.StringIO()):
                _checked(command, flag.removed_from(words))
        except UsageError:  # the words do not parse without it: it took a positional argument
            continue
        except (Exception, SystemExit) as other:  # only compared with the error to be explained, which is raised
            if describe(other) != describe(error):
                others = others or flag
        else:
            return flag
    return others


def _parse_values(target: Callable[..., Any], words: Sequence[str], prog: str) -> dict[str, Any]:
    printed = io.StringIO()
    try:
        with redirect_stderr(printed):
            values: Any = tyro.cli(_returning_values(target), args=words, prog=prog)
            return values if isinstance(values, dict) else dict(vars(values))
    except SystemExit as stop:
        if not stop.code:
            raise HelpPrinted(0) from None
        raise UsageError(_parse_error(target, words, prog, printed.getvalue())) from None


def _parse_error(target: Callable[..., Any], words: Sequence[str], prog: str, printed: str) -> str:
    """What is wrong with words that do not parse, in one line."""
    kinds = _kinds(target)
    typed = typed_flags(words)
    for flag in typed:
        if flag.name not in kinds:
            names = [name.replace("_", "-") for name in kinds]
            hint = suggestion(flag.word.removeprefix("--"), names)
            return f"{flag}: {prog} has no flag {flag.word}; {hint}"
    for flag in typed:
        if _parses(target, flag.removed_from(words), prog):
            return f"{flag}: want {describe_type(kinds[flag.name])}"
    first = words[: typed[0].start] if typed else words
    for flag in typed if _parses(target, first, prog) else []:  # of several wrong flags the first one
        if not _parses(target, [*first, *words[flag.start : flag.stop]], prog):
            return f"{flag}: want {describe_type(kinds[flag.name])}"
    return f"{prog.removeprefix('badger ')}: {_box_text(printed)}"


def _box_text(box: str) -> str:
    """The first paragraph of a box, in one line; below its title there is a rule, or none."""
    lines = [line.strip("│ ") for line in box.splitlines()[1:]]
    is_rule = [not line.strip("─-╰╯") for line in lines]
    start = is_rule.index(False) if False in is_rule else 0
    stop = is_rule.index(True, start) if True in is_rule[start:] else len(lines)
    return " ".join(lines[start:stop])


def _parses(target: Callable[..., Any], words: Sequence[str], prog: str) -> bool:
    try:
        with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            tyro.cli(_returning_values(target), args=words, prog=prog)
    except SystemExit as stop:
        return not stop.code
    return True


def _returning_values(target: Callable[..., Any]) -> Callable[..., dict[str, Any]]:
    """A function with the same flags, which returns their values by name."""
    if isinstance(target, type):
        return target

    @wraps(target)
    def values(**parsed: Any) -> dict[str, Any]:
        return parsed

    return values


def _kinds(target: Callable[..., Any]) -> dict[str, Any]:
    """The types of the flags, by name."""
    parameters = inspect.signature(target, eval_str=True).parameters
    hints = {name.replace(SEPARATOR, "."): parameter.annotation for name, parameter in parameters.items()}
    return {name: typing.get_args(h)[0] if typing.get_origin(h) is typing.Annotated else h for name, h in hints.items()}


def describe_type(kind: Any) -> str:
    """The values of a type, as a message names them: `2 whole numbers`.

    Args:
        kind: of a flag.
    """
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind in KINDS:
        return KINDS[kind]
    if origin is typing.Literal:
        return " or ".join(map(str, args))
    if origin in (typing.Union, types.UnionType):
        return ", or ".join(describe_type(part) for part in args)
    if origin is tuple:
        count = "any number of values" if args[-1] is ... else f"{len(args)} values"
        return f"{count}, each {describe_type(args[0])}"
    return "a name and a number for each" if origin is dict else type_name(kind)


def print_usage(argv: list[str], text: str) -> Work:
    """The work of a command without a subject: prints a usage line, with exit code 0 where the arguments ask for help.

    Args:
        argv: arguments of the command.
        text: the usage line.
    """
    wants_help = argv[:1] in (["-h"], ["--help"])

    def work() -> int:
        print(text, file=sys.stdout if wants_help else sys.stderr)
        return 0 if wants_help else 2

    return work


@contextmanager
def warnings_in_one_line() -> Iterator[None]:
    """Context in which a warning is a line on standard error, without the place in the code that has raised it."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: typing.TextIO | None = None,
        line: str | None = None,
    ) -> None:
        print(f"badger: warning: {message}", file=sys.stderr, flush=True)

    with warnings.catch_warnings():
        warnings.showwarning = show
        yield
