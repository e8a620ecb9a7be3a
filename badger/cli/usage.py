"""Usage lines of commands."""

import sys


def print_usage(argv: list[str], text: str) -> int:
    """Prints a usage line; returns exit code 0 where the arguments ask for help, and 2 otherwise.

    Args:
        argv: arguments of the command.
        text: the usage line.
    """
    wants_help = argv[:1] in (["-h"], ["--help"])
    print(text, file=sys.stdout if wants_help else sys.stderr)
    return 0 if wants_help else 2
