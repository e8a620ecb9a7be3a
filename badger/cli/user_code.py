"""Where the script `badger` finds a user's own modules, and that it starts no process with others first on its path."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from tasks.adapters.named_imports import user_folder

SAFE_PATH = "PYTHONSAFEPATH"


@contextmanager
def user_code() -> Iterator[None]:
    """Context in which typed and trusted modules are also found in the current directory, after all others.

    Processes that are started here do not have the current directory first on their path, where a file of a downloaded
    folder could hide a module of the standard library. Python 3.10 has no setting for that.
    """
    previous = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        with user_folder(os.getcwd()):
            yield
    finally:
        if previous is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = previous


def search_current_directory() -> None:
    """Appends the current directory to the path: also processes started later find the user's modules there."""
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
