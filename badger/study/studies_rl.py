"""Studies of learners by reward and of what they remember with, in worlds where only remembering is hard."""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study

TINY = {"hidden_size": 8, "batch": 4, "outer_steps": 3}


def _study(recipe: str, arms: dict[str, dict[str, Any]], tiny: dict[str, Any], *, seeds: int = 5, **rest: Any) -> Study:
    return Study(
        arms={arm: Arm(recipe, arguments) for arm, arguments in arms.items()},
        seeds=seeds,
        quick=QuickOverrides(arguments=TINY | tiny, milestones=(), threshold=-100.0, episodes=64),
        **rest,
    )


POLICY = {"learner": "ppo", "batch": 32, "lr": 1e-3, "outer_steps": 150}  # 672 steps of the world in an outer step
REPLAY = {"batch": 16, "lr": 3e-3, "hidden_size": 32, "outer_steps": 500}  # 320, and more in the first

T_MAZE = _study(
    "t_maze",
    {
        "ppo": POLICY,
        "a2c": {"learner": "a2c", "batch": 64, "outer_steps": 1200},
        "drqn": REPLAY | {"learner": "drqn"},
        "r2d2": REPLAY | {"learner": "r2d2"},
        "memoryless": POLICY | {"controller": "feedforward"},
    },
    {"length": 3},
    name="t-maze",
    claim="Recurrent learners by reward find their way in a T-maze of 20 steps; without memory every other time.",
    score="success",
    threshold=0.55,  # in training, where one explores: more than is to be had without a memory
)

T_MAZE_IN_PIECES = _study(
    "t_maze_in_pieces",
    {"zero state": {"stored": False, "burn_in": 0}, "stored": {"burn_in": 0}, "stored, burnt in": {}},
    {"length": 6, "train": 2, "overlap": 1, "burn_in": 2, "measure_every": 1},
    name="t-maze-in-pieces",
    claim="Q values of sequences are truer, the more is known of the agent at their beginning: nothing, what it knew "
    "then, and that brought up to date by a burn-in.",
    score="success",
    threshold=0.95,
)

NOISY = {"learner": "ppo", "batch": 32, "lr": 1e-3, "controller": "lstm", "outer_steps": 300}  # 960 steps each

T_MAZE_LONG = _study(
    "t_maze_long",
    {"lstm": NOISY, "amrl": NOISY | {"memory": "amrl"}},
    {"length": 3},
    name="t-maze-long",
    claim="The maximum over time of half of an LSTM's outputs is seen through noise sooner than what the LSTM keeps.",
    score="reward",
    threshold=3.6,
    seeds=10,
)

PROOF = {"learner": "ppo", "batch": 16, "lr": 1e-3, "outer_steps": 97}  # 256 steps each: 24,832

PROOF_OF_MEMORY = _study(
    "proof_of_memory",
    {
        "gtrxl": PROOF | {"memory": "gtrxl", "slots": 16, "key_size": 64, "heads": 2},
        "gru": PROOF,
        "memoryless": PROOF | {"controller": "feedforward"},
    },
    {},
    name="proof-of-memory",
    claim="A gated transformer proves its memory within 25,000 steps.",
    score="reward",
    threshold=1.1,
)

LESSON = {"cards": 8, "teacher": "own", "slots": 32, "outer_steps": 1000}

CARD_LESSON = _study(
    "card_game",
    {"private": LESSON | {"memory": "private"}, "none": LESSON | {"memory": "none"}},
    {"cards": 4, "slots": 8},
    name="card-lesson",
    claim="With an episodic memory the moves of a player who forgets no card are learnt; by a GRU alone they are not.",
    score="accuracy",
    threshold=0.95,
)

GAME = {
    "cards": 4, "learner": "a2c", "batch": 128, "lr": 1e-3, "entropy": 0.01, "feedback": True, "slots": 16,
    "outer_steps": 1500,
}  # fmt: skip

CARD_GAME = _study(
    "card_game",
    {"private": GAME | {"memory": "private"}, "none": GAME | {"memory": "none"}},
    {},
    name="card-game",
    claim="By reward alone four cards are played with a mean return above 0.",
    score="reward",
    threshold=0.0,
)

RL_MEMORY_STUDIES = (T_MAZE, T_MAZE_IN_PIECES, T_MAZE_LONG, PROOF_OF_MEMORY, CARD_LESSON, CARD_GAME)
