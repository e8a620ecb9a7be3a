"""Studies of games: how soon an agent without memory learns Catch."""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study

# An outer step is an episode, after some of which the greedy policy is evaluated on all of them. To compare another
# learner is to add a line here.
CATCH_ARMS: dict[str, dict[str, Any]] = {
    "dqn": {},
    "double dqn": {"learner.double_q": True},
    "dueling dqn": {"act": "dueling"},
    "3-step dqn": {"learner.n_steps": 3},
    "emdqn": {"learner": "emdqn"},
    "nec": {"learner": "nec"},
    "mfec": {"learner": "mfec"},
    "mfec, exact keys": {"learner": "mfec", "learner.key_size": 0},
}

CATCH = Study(
    name="catch",
    claim="DQN plays Catch without a fault after 200 episodes: median of the episodes until its greedy policy catches "
    "every ball.",
    arms={name: Arm("catch", {"evaluate_every": 5} | flags) for name, flags in CATCH_ARMS.items()},
    score="episodic_return",
    threshold=0.99,
    curve="eval/episodic_return",
    milestones=(200,),
    episodes=None,
    seeds=8,
    quick=QuickOverrides(
        arguments={"rows": 4, "columns": 3, "outer_steps": 10, "learner.prefill": 8},
        milestones=(),
        episodes=None,
    ),
)

GAME_STUDIES = (CATCH,)
"""Studies of games that one expert plays."""
