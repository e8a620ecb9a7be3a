"""The study of evolution: beside backpropagation at equal CPU time, without gradients, and in long episodes.

Arms that are compared have outer steps for about the same CPU time (on one core of 2026).
"""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study, make_arm

POPULATION: dict[str, Any] = {
    "learner": "evolution",
    "learner.population": 64,
    "learner.sigma": 0.02,
    "lr": 3e-2,
}


def _guess(size: int, **arguments: Any) -> Arm:
    """The guessing game with as many experts as dimensions."""
    return make_arm("guessing_game", {"dims": size, "experts": size, **arguments}, "final_error")


def _balance(**arguments: Any) -> Arm:
    """A pole without velocities."""
    return make_arm("cartpole", arguments, "episodic_return", episodes=20)


GUESSING = POPULATION | {"batch": 16, "schedule": "linear"}
BALANCING = POPULATION | {"batch": 2, "core.hidden_size": 16}
LONG: dict[str, Any] = {"steps": 10_000}
PARTS: dict[str, Any] = {
    "schedule": "linear",
    "learner.unroll": 100,
    "learner.use_ranks": True,
}  # by returns it collapses

EVOLUTION = Study(
    name="evolution",
    claim="Evolution learns from returns alone, also in episodes of 10,000 steps; where rewards or policies have a "
    "gradient, more is learned with it in the same CPU time.",
    arms={
        "guess-1": _guess(1, outer_steps=150, **GUESSING),
        "guess-1-bptt": _guess(1, outer_steps=475),
        "guess-2": _guess(2, outer_steps=250, **GUESSING),
        "guess-2-bptt": _guess(2, outer_steps=825),
        "guess-4": _guess(4, outer_steps=120, **GUESSING),
        "guess-4-bptt": _guess(4, outer_steps=500),
        "cart": _balance(outer_steps=100, **BALANCING),
        "cart-ppo": _balance(outer_steps=97),
        "long-cart": _balance(outer_steps=400, **BALANCING, **LONG, **PARTS),
        "long-cart-ppo": _balance(outer_steps=97, **LONG),
    },
    score="score",
    threshold=None,
    episodes=1024,
    seeds=3,
    gates={"guess-1": 0.1, "guess-2": 0.6, "cart": 195.0},
    quick=QuickOverrides(
        arguments={
            "steps": 6, "outer_steps": 2, "batch": 4, "core.hidden_size": 8, "learner.population": 4,
            "learner.unroll": 4, "learner.horizon": 8,
        },
        milestones=(),
        episodes=8,
    ),
)  # fmt: skip
