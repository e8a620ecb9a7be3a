"""Print the usage of a command whose arguments are missing or ask for help."""

import sys


def print_usage(words: list[str], text: str) -> int:
    """Prints the usage of a command.

    Args:
        words: the command line after the command.
        text: the usage.

    Returns:
        The exit code: 0 where the words ask for help, else 2.
    """
    help_requested = words[:1] in (["-h"], ["--help"])
    print(text, file=sys.stdout if help_requested else sys.stderr)
    return 0 if help_requested else 2
