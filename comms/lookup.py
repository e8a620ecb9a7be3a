"""Parts that are chosen by name."""

import difflib
from collections.abc import Mapping
from typing import TypeVar

Part = TypeVar("Part")


def get_by_name(table: Mapping[str, Part], name: str, kind: str) -> Part:
    """The part registered under `name`; `kind` says in the error what was looked for ("topology", "bus").

    Raises ValueError with the valid names, and with the nearest of them where one is near.
    """
    if name in table:
        return table[name]
    near = difflib.get_close_matches(name, table, n=1)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"unknown {kind} {name!r}, want one of: {', '.join(table)}.{hint}")
