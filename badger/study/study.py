"""What a study is: a claim, the arms that it compares, and what is looked at."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from badger.recipes.build import find_recipe
from badger.recipes.flags import drop_unknown_options


@dataclass(frozen=True)
class Arm:
    """One way of doing it: a recipe and its arguments, less the seed."""

    recipe: str
    arguments: dict[str, Any] = field(default_factory=dict)


def make_arm(recipe: str, arguments: Mapping[str, Any]) -> Arm:
    """An arm without options that its parts do not have, so that one set of options serves arms with several cores.

    Args:
        recipe: a registered name, or `module:function`.
        arguments: keyword arguments of the recipe, less the seed, such as `{"core": "dnc", "core.slots": 16}`.

    Raises:
        ValueError: an unknown recipe or part.
    """
    return Arm(recipe, drop_unknown_options(find_recipe(recipe), arguments))


@dataclass(frozen=True, kw_only=True)
class QuickOverrides:
    """What differs in the tiny version of a study; what is not given stays as it is."""

    arguments: dict[str, Any]  # of every arm
    milestones: tuple[int, ...]
    episodes: int | None = 256
    threshold: float | None = None
    seeds: int = 2


@dataclass(frozen=True, kw_only=True)
class Study:
    """Arms x seeds, each trained by its recipe and evaluated on episodes that no training meets.

    Args:
        name: also that of its folder. claim: what it is to show, in one sentence.
        arms: by name.
        score: the task's score by which all is judged.
        threshold: "outer steps to" is when the moving average of the training batches' score is better than this; None:
            it is not told, for training begins with something easier.
        milestones: outer steps after which a run is evaluated; after its last one it always is.
        episodes: of an evaluation; None: each one of a finite task.
        evaluations: by name, fields of the task that are replaced for it, such as {"test": {"split": "test"}}; the
            summary tells of the first one.
        seeds: 0 to seeds - 1, if not told otherwise.
        quick: the tiny version.

    Raises:
        ValueError: a study that cannot be run.
    """

    name: str
    claim: str
    arms: dict[str, Arm]
    score: str
    threshold: float | None
    milestones: tuple[int, ...] = ()
    episodes: int | None = 1024
    evaluations: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    seeds: int = 10
    quick: QuickOverrides | None = None

    def __post_init__(self) -> None:
        if not self.arms or not self.evaluations or self.seeds < 1:
            raise ValueError(f"study {self.name!r} needs an arm, an evaluation and a seed at least")
        if any(step < 1 for step in self.milestones):
            raise ValueError(f"study {self.name!r}: milestones={self.milestones}, want outer steps from 1 on")
        for name in (self.name, *self.arms):  # folders are called so
            if not name or "/" in name or name.startswith("."):
                raise ValueError(f"{name!r} is no name of a folder; want one without / and not beginning with a dot")
        for name, arm in self.arms.items():
            if {"seed", "seeds"} & set(arm.arguments):
                raise ValueError(f"arm {name!r} sets its seed; arms are the same in all seeds, which the study gives")

    def quick_version(self) -> "Study":
        """The quick version, which keeps a folder of its own.

        Raises:
            ValueError: there is none.
        """
        quick = self.quick
        if quick is None:
            raise ValueError(f"study {self.name!r} has no quick version; give it one: quick=Quick(...)")
        arms = {name: make_arm(arm.recipe, arm.arguments | quick.arguments) for name, arm in self.arms.items()}
        return dataclasses.replace(
            self,
            name=f"{self.name}-quick",
            claim=f"That it runs, in a tiny version. At full size: {self.claim}",
            arms=arms,
            milestones=quick.milestones,
            episodes=quick.episodes,
            threshold=self.threshold if quick.threshold is None else quick.threshold,
            seeds=quick.seeds,
            quick=None,
        )

    def definition(self) -> dict[str, Any]:
        """All that its runs depend on, as JSON gives it back. More seeds, or another threshold, change no run."""
        names = ("name", "arms", "milestones", "episodes", "evaluations")
        everything = dataclasses.asdict(self)
        try:
            return json.loads(json.dumps({name: everything[name] for name in names}))
        except TypeError as error:
            raise ValueError(f"study {self.name!r} is kept as JSON, but {error}") from error
