"""Definition of a study: a claim, the arms that are compared, and how they are evaluated."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from badger.recipes.build import find_recipe
from badger.recipes.flags import drop_unknown_options


@dataclass(frozen=True)
class Arm:
    """An arm of a study: a recipe and its arguments without the seed.

    Args:
        recipe: its name, or `module:function`.
        arguments: of the recipe.
        score: the score of its task, where it has another name than the study's: in the study it has that one.
        better: "lower" or "higher", of a score that is not the main one of its task; None: as the task says.
        episodes: of an evaluation, where it has others than the study.
        metric: a metric of training whose mean since the milestone before is the study's score; None: a score of
            evaluation episodes.

    Raises:
        ValueError: a metric without a direction.
    """

    recipe: str
    arguments: dict[str, Any] = field(default_factory=dict)
    score: str | None = None
    better: Literal["lower", "higher"] | None = None
    episodes: int | None = None
    metric: str | None = None

    def __post_init__(self) -> None:
        if self.metric is not None and self.better is None:
            raise ValueError(f"metric={self.metric!r} without better=, want 'lower' or 'higher'")


def make_arm(
    recipe: str,
    arguments: Mapping[str, Any],
    score: str | None = None,
    *,
    better: Literal["lower", "higher"] | None = None,
    episodes: int | None = None,
    metric: str | None = None,
) -> Arm:
    """An arm of a study; options that its parts do not have are dropped, so that arms with several cores share one set.

    Args:
        recipe: a registered name, or `module:function`.
        arguments: keyword arguments of the recipe without the seed, such as `{"core": "dnc", "core.slots": 16}`.
        score, better, episodes, metric: as in `Arm`.

    Raises:
        ValueError: the recipe or a part is unknown.
    """
    return Arm(recipe, drop_unknown_options(find_recipe(recipe), arguments), score, better, episodes, metric)


@dataclass(frozen=True, kw_only=True)
class QuickOverrides:
    """The fields in which the quick version of a study differs from the study.

    Args:
        arguments: replace those of every arm.
        milestones: outer steps after which runs are evaluated.
        episodes: of an evaluation.
        threshold: of the moving average; None: unchanged.
        seeds: number of seeds.
    """

    arguments: dict[str, Any]
    milestones: tuple[int, ...]
    episodes: int | None = 256
    threshold: float | None = None
    seeds: int = 2


@dataclass(frozen=True, kw_only=True)
class Study:
    """A study: every arm is trained with every seed and evaluated on held-out episodes.

    Args:
        name: of the study and its folder.
        claim: the hypothesis, in one sentence.
        arms: by name.
        score: name of the task's score by which arms are compared; of arms on several tasks a name for all
            (`Arm.score`).
        threshold: "steps to threshold" counts outer steps until the moving average of the score of training batches is
            better than this; None: not reported, for example where a curriculum starts with easier episodes.
        curve: a logged metric that is compared with the threshold and drawn, such as eval/episodic_return of arms with
            `evaluate_every`; None: the moving average of the score of training batches.
        milestones: outer steps after which a run is evaluated, besides the last one.
        episodes: of an evaluation; None: all episodes of a finite task.
        evaluations: by name, fields of the task that are replaced, such as {"test": {"split": "test"}}, and `experts`,
            a number of experts; the summary reports the first one.
        seeds: default number of seeds, from 0 on.
        gates: by arm, the median over runs of the final score that is wanted. Arms with gates, each of another task,
            are not compared.
        quick: the quick version, for a smoke test.

    Raises:
        ValueError: the study has no arm, no evaluation or no seed; a milestone is below 1; a name cannot be a folder's;
            an arm sets its seed.
    """

    name: str
    claim: str
    arms: dict[str, Arm]
    score: str
    threshold: float | None
    curve: str | None = None
    milestones: tuple[int, ...] = ()
    episodes: int | None = 1024
    evaluations: dict[str, dict[str, Any]] = field(default_factory=lambda: {"": {}})
    seeds: int = 10
    gates: dict[str, float] = field(default_factory=dict)
    quick: QuickOverrides | None = None

    def __post_init__(self) -> None:
        if not self.arms or not self.evaluations or self.seeds < 1:
            raise ValueError(f"study {self.name!r} needs at least one arm, one evaluation and one seed")
        if any(step < 1 for step in self.milestones):
            raise ValueError(f"study {self.name!r}: milestones={self.milestones}, want outer steps >= 1")
        for name in (self.name, *self.arms):  # names of folders
            if not name or "/" in name or name.startswith("."):
                raise ValueError(
                    f"{name!r} cannot be the name of a folder; want a name without / that does not start with a dot"
                )
        for name in self.gates.keys() - self.arms.keys():
            raise ValueError(f"study {self.name!r}: a gate of {name!r}, want one of its arms: {', '.join(self.arms)}")
        for name, arm in self.arms.items():
            if {"seed", "seeds"} & set(arm.arguments):
                raise ValueError(f"arm {name!r} sets its seed; remove it: the study sets the seeds of all arms")

    def quick_version(self) -> "Study":
        """The quick version, with a name and folder of its own.

        Raises:
            ValueError: the study has none.
        """
        quick = self.quick
        if quick is None:
            raise ValueError(f"study {self.name!r} has no quick version; add one: quick=QuickOverrides(...)")
        arms = {
            name: make_arm(arm.recipe, arm.arguments | quick.arguments, arm.score, better=arm.better, metric=arm.metric)
            for name, arm in self.arms.items()
        }
        return dataclasses.replace(
            self,
            name=f"{self.name}-quick",
            claim=f"Smoke test at a small size of: {self.claim}",
            arms=arms,
            milestones=quick.milestones,
            episodes=quick.episodes,
            threshold=self.threshold if quick.threshold is None else quick.threshold,
            seeds=quick.seeds,
            quick=None,
        )

    def definition(self) -> dict[str, Any]:
        """Everything on which the runs depend, as decoded from JSON; seeds, threshold and curve are no part of it.

        Raises:
            ValueError: a value has no JSON form.
        """
        names = ("name", "arms", "milestones", "episodes", "evaluations")
        fields = dataclasses.asdict(self)
        for arm in fields["arms"].values():
            for name in ("score", "better", "episodes", "metric"):  # as in the definition of a study without them
                if arm[name] is None:
                    del arm[name]
        try:
            return json.loads(json.dumps({name: fields[name] for name in names}))
        except TypeError as error:
            raise ValueError(f"study {self.name!r} is saved as JSON, but {error}") from error
