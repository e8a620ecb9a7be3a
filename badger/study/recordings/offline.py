"""The study of learners from recorded episodes of random actions."""

from typing import Any, Literal

from badger.study.study import Arm, QuickOverrides, Study, make_arm

TRANSFORMER = {"learner": "decision_transformer", "core": "decision_transformer"}
GRAPH: dict[str, Any] = {"data": "random:1000", "task": "random_walk_graph", "outer_steps": 300, "evaluate_every": 50}
DOORS: dict[str, Any] = {"data": "random:10000", "task": "key_to_door", "evaluate_every": 100}
GAMBLES: dict[str, Any] = {"data": "random:1000", "task": "gambling", "outer_steps": 150, "evaluate_every": 50}
SMALL = {"core.hidden_size": 32, "core.layers": 1}
ROOMS: dict[str, Any] = {"data": "random:5500", "task": "four_rooms", "task.steps": 32, "evaluate_every": None}
PLANNER: dict[str, Any] = {
    "learner": "trajectory_transformer", "core": "trajectory_transformer", "core.objective": "goal",
    "core.hidden_size": 16, "core.width": 64, "core.layers": 2, "core.heads": 4, "core.bins": 64, "core.horizon": 10,
    "core.beam": 16, "core.expand": 4, "core.action_mass": 1.0,
}  # fmt: skip
CART: dict[str, Any] = {
    "data": "random:10000", "task": "cart_world", "task.wanted": [0.6, -0.6], "core.hidden_size": 64,
    "core.layers": 2, "core.heads": 2, "core.context": 5, "batch": 256, "lr": 2e-3, "outer_steps": 2000,
    "evaluate_every": 500,
}  # fmt: skip
ASKED: dict[str, Any] = {
    "learner": "generalized_dt", "core": "generalized_dt", "target_rewards": ["30x0.6", "30x-0.6"]
}  # fmt: skip


def _arm(
    score: str,
    *parts: dict[str, Any],
    better: Literal["lower", "higher"] | None = None,
    episodes: int | None = None,
    **arguments: Any,
) -> Arm:
    """An arm of the recipe for recorded episodes, with the score of its task."""
    merged = {name: value for part in (*parts, arguments) for name, value in part.items()}
    return make_arm("offline", merged, score, better=better, episodes=episodes)


OFFLINE = Study(
    name="offline",
    claim="Recordings of random actions suffice for shortest paths and for a door that needs a key, by an agent that "
    "is asked for their best return; but where that return was luck, it takes luck for skill. They suffice for plans "
    "to a goal in four rooms, and for a distribution of velocities that no recorded episode has.",
    arms={
        "graph-decision-transformer": _arm("shortest", GRAPH, TRANSFORMER, {"learner.return_bins": 10}),
        "graph-behavior-cloning": _arm("shortest", GRAPH, core="feedforward"),
        "door-decision-transformer": _arm(
            "success", DOORS, TRANSFORMER,
            {"core.context": 24, "core.hidden_size": 64, "core.layers": 2, "learner.return_bins": 2},
            outer_steps=800,
        ),
        "door-behavior-cloning": _arm("success", DOORS, core="feedforward", outer_steps=300),
        "door-best-3-percent": _arm(
            "success", DOORS, {"learner.percent": 3.0}, core="feedforward", learner="percent_bc", outer_steps=1000
        ),
        "luck-best-return": _arm("episodic_return", GAMBLES, TRANSFORMER, SMALL),
        "luck-sure-return": _arm("episodic_return", GAMBLES, TRANSFORMER, SMALL, target_return=1.0),
        "rooms-trajectory-transformer": _arm("reached", ROOMS, PLANNER, outer_steps=2400, episodes=100),
        "rooms-behavior-cloning": _arm("reached", ROOMS, core="feedforward", outer_steps=300),
        "cart-categorical": _arm("velocity_distance", CART, ASKED, better="lower"),
        "cart-bidirectional": _arm(
            "velocity_distance", CART, ASKED, {"core.match": "bidirectional"}, better="lower", batch=128,
            outer_steps=700,
        ),
        "cart-decision-transformer": _arm("velocity_distance", CART, TRANSFORMER, target_return=0.0, better="lower"),
    },
    score="score",
    threshold=None,
    curve="eval/return",
    episodes=500,
    seeds=5,
    gates={"graph-decision-transformer": 0.95, "door-decision-transformer": 0.9, "luck-sure-return": 1.0}
    | {"rooms-trajectory-transformer": 0.95},
    quick=QuickOverrides(
        arguments={"data": "random:30", "outer_steps": 2, "evaluate_every": 1, "batch": 4, "core.hidden_size": 8}
        | {"core.width": 8, "core.horizon": 2, "core.beam": 2, "core.layers": 1},
        milestones=(),
        episodes=16,
    ),
)  # fmt: skip
OFFLINE_STUDIES = (OFFLINE,)
