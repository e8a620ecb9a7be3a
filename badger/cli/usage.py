"""What a command prints where its words are missing or ask for help."""

import sys


def print_usage(words: list[str], text: str) -> int:
    """Exit code 0 where the words ask for help, 2 where they are wrong."""
    asked = words[:1] in (["-h"], ["--help"])
    print(text, file=sys.stdout if asked else sys.stderr)
    return 0 if asked else 2
