"""Contract tests for recurrent cores and memories: `check_core` and `CORE_PROPERTIES`.

`shapes`, `dependence`, `members`, `stepping`, `randomness` and `devices` have the properties, `cases` the small
cores and inputs.
"""

from collections.abc import Callable, Collection

from badger.testing.contract import Properties, check_all
from badger.testing.core.dependence import DEPENDENCE
from badger.testing.core.devices import DEVICES
from badger.testing.core.members import MEMBERS
from badger.testing.core.randomness import RANDOMNESS
from badger.testing.core.shapes import SHAPES
from badger.testing.core.stepping import STEPPING
from experts import Core

CORE_PROPERTIES: Properties = SHAPES | DEPENDENCE | MEMBERS | STEPPING | RANDOMNESS | DEVICES
"""The properties of the core contract, by name."""

UNCOMPILED = frozenset(CORE_PROPERTIES) - {"one_step_may_be_compiled"}
"""All properties but compilation, the slowest, for a core whose parts are compiled in another test."""

ORDERED = frozenset({"members_permute", "members_can_be_reordered"})
"""Properties that do not hold for a core whose members write one after the other."""

__all__ = ["CORE_PROPERTIES", "ORDERED", "UNCOMPILED", "check_core"]


def check_core(
    factory: Callable[[int, int], Core], *, ordered: bool = False, properties: Collection[str] | None = None
) -> None:
    """Checks a core against the contract of recurrent cores and memories.

    Args:
        factory: (input_size, output_size) -> Core, as in `experts.CORES`. It is called once for each property.
        ordered: whether members write one after the other, so that they do not permute.
        properties: names out of `CORE_PROPERTIES`; None: all.

    Raises:
        ContractError: the first property that does not hold: its name, what was wanted, what came.
        ValueError: a name that is no property.
    """
    names = set(CORE_PROPERTIES if properties is None else properties)
    check_all(CORE_PROPERTIES, factory, names - ORDERED if ordered else names)
