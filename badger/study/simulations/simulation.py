"""Definition of a simulation: a claim, and a function that computes the curves of an arm for a seed."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple


class Curves(NamedTuple):
    """Several curves over the same values of x.

    Args:
        x: increasing, above 0.
        y: by name, one value for each x.
    """

    x: list[int]
    y: dict[str, list[float]]


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """A study that trains no network: every arm is computed with every seed.

    Args:
        name: of the study and its folder.
        claim: the hypothesis, in one sentence.
        simulate: a function of a module, called with the keyword arguments of an arm and `seed`.
        arms: by name, arguments of `simulate`, as decoded from JSON.
        x: label of the x-axis, which is logarithmic.
        y: label of the y-axis.
        overtakes: names of two curves: the report says from where on the first is above the second.
        seeds: default number of seeds, from 0 on.
        quick: arguments of all arms in the quick version.
    """

    name: str
    claim: str
    simulate: Callable[..., Curves]
    arms: dict[str, dict[str, Any]]
    x: str
    y: str
    overtakes: tuple[str, str]
    seeds: int
    quick: dict[str, Any]

    def quick_version(self) -> "Simulation":
        """The quick version, with a name and folder of its own and two seeds."""
        return dataclasses.replace(
            self,
            name=f"{self.name}-quick",
            claim=f"Smoke test at a small size of: {self.claim}",
            arms={name: arguments | self.quick for name, arguments in self.arms.items()},
            seeds=2,
        )

    def definition(self) -> dict[str, Any]:
        """Everything on which the curves depend, as decoded from JSON."""
        return json.loads(json.dumps({"name": self.name, "arms": self.arms}))
