"""The study of learners from recorded episodes of random actions."""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study, make_arm

TRANSFORMER = {"learner": "decision_transformer", "core": "decision_transformer"}
GRAPH: dict[str, Any] = {"data": "random:1000", "task": "random_walk_graph", "outer_steps": 300, "evaluate_every": 50}
DOORS: dict[str, Any] = {"data": "random:10000", "task": "key_to_door", "evaluate_every": 100}
GAMBLES: dict[str, Any] = {"data": "random:1000", "task": "gambling", "outer_steps": 150, "evaluate_every": 50}
SMALL = {"core.hidden_size": 32, "core.layers": 1}


def _arm(score: str, *parts: dict[str, Any], **arguments: Any) -> Arm:
    """An arm of the recipe for recorded episodes, with the score of its task."""
    return make_arm("offline", {name: value for part in (*parts, arguments) for name, value in part.items()}, score)


OFFLINE = Study(
    name="offline",
    claim="Recordings of random actions suffice for shortest paths and for a door that needs a key, by an agent that "
    "is asked for their best return; but where that return was luck, it takes luck for skill.",
    arms={
        "graph-decision-transformer": _arm("shortest", GRAPH, TRANSFORMER, **{"learner.return_bins": 10}),
        "graph-behavior-cloning": _arm("shortest", GRAPH, core="feedforward"),
        "door-decision-transformer": _arm(
            "success", DOORS, TRANSFORMER,
            **{"core.context": 24, "core.hidden_size": 64, "core.layers": 2, "learner.return_bins": 2},
            outer_steps=800,
        ),
        "door-behavior-cloning": _arm("success", DOORS, core="feedforward", outer_steps=300),
        "door-best-3-percent": _arm(
            "success", DOORS, core="feedforward", learner="percent_bc", outer_steps=1000, **{"learner.percent": 3.0}
        ),
        "luck-best-return": _arm("episodic_return", GAMBLES, TRANSFORMER, SMALL),
        "luck-sure-return": _arm("episodic_return", GAMBLES, TRANSFORMER, SMALL, target_return=1.0),
    },
    score="score",
    threshold=None,
    curve="eval/return",
    episodes=500,
    seeds=5,
    gates={"graph-decision-transformer": 0.95, "door-decision-transformer": 0.9, "luck-sure-return": 1.0},
    quick=QuickOverrides(
        arguments={"data": "random:30", "outer_steps": 2, "evaluate_every": 1, "batch": 4, "core.hidden_size": 8},
        milestones=(),
        episodes=16,
    ),
)  # fmt: skip
OFFLINE_STUDIES = (OFFLINE,)
