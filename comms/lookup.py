"""Look-up of registered parts by name, with suggestions for misspelled names."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Part = TypeVar("Part")


def get_by_name(table: Mapping[str, Part], name: str, kind: str) -> Part:
    """The entry registered under a name.

    Args:
        table: entries by name.
        name: the name to look up.
        kind: of the entries, for the error: "topology", "bus".

    Raises:
        ValueError: an unknown name; lists the valid names and the most similar one.
    """
    if name in table:
        return table[name]
    similar = difflib.get_close_matches(name, table, n=1)
    hint = f" Did you mean {similar[0]!r}?" if similar else ""
    raise ValueError(f"unknown {kind} {name!r}, want one of: {', '.join(table)}.{hint}")
