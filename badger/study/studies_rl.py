"""Studies of learners by reward: of what they remember with, where only remembering is hard, and of fast learning."""

from typing import Any, Literal

from badger.study.study import Arm, QuickOverrides, Study, make_arm

TINY = {"core.hidden_size": 8, "batch": 4, "outer_steps": 3}


def _study(
    recipe: str,
    arms: dict[str, dict[str, Any]],
    tiny: dict[str, Any],
    *,
    seeds: int = 5,
    better: Literal["lower", "higher"] | None = None,
    metric: str | None = None,
    **rest: Any,
) -> Study:
    return Study(
        arms={arm: make_arm(recipe, arguments, better=better, metric=metric) for arm, arguments in arms.items()},
        seeds=seeds,
        quick=QuickOverrides(arguments=TINY | tiny, milestones=(), threshold=None if metric else -100.0, episodes=64),
        **rest,
    )


POLICY = {"learner": "ppo", "batch": 32, "lr": 1e-3, "outer_steps": 150}  # 672 steps of the world in an outer step
REPLAY = {"batch": 16, "lr": 3e-3, "core.hidden_size": 32, "outer_steps": 500}  # 320, and more in the first

T_MAZE = _study(
    "t_maze",
    {
        "ppo": POLICY,
        "a2c": {"learner": "a2c", "batch": 64, "outer_steps": 1200},
        "drqn": REPLAY | {"learner": "drqn"},
        "r2d2": REPLAY | {"learner": "r2d2"},
        "memoryless": POLICY | {"core": "feedforward"},
    },
    {"length": 3},
    name="t-maze",
    claim="Recurrent reinforcement learners solve a T-maze of 20 steps; without memory half of the episodes succeed.",
    score="success",
    threshold=0.55,  # in training, where one explores: more than is to be had without a memory
)

PIECES: dict[str, Any] = {  # sequences of 10 steps of episodes of 5 to 50: the cue is seen in the first ones alone
    "learner": "r2d2", "length": (5, 50), "batch": 16, "lr": 3e-3, "core.hidden_size": 32, "outer_steps": 400,
    "learner.train_length": 10, "learner.overlap": 5, "learner.gradient_steps": 4, "learner.target_update_interval": 25,
    "learner.discrepancy_interval": 5,
}  # fmt: skip

T_MAZE_R2D2 = _study(
    "t_maze_long",
    {
        f"{state} state{', burn-in' if burn_in else ''}": PIECES
        | {"learner.stored_state": state == "stored", "learner.burn_in": burn_in}
        for state in ("zero", "stored")
        for burn_in in (0, 10)
    },
    {
        "length": (3, 6),
        "learner.train_length": 2,
        "learner.overlap": 1,
        "learner.burn_in": 2,
        "learner.discrepancy_interval": 1,
    },
    name="t-maze-r2d2",
    claim="The Q values with which a replayed sequence starts are closer to those after the whole episode so far with "
    "a stored state than with a zero state, and closest with a burn-in beside it.",
    score="initial_discrepancy",
    metric="initial_discrepancy",
    curve="initial_discrepancy",
    better="lower",
    threshold=None,
    milestones=(300,),
)

NOISY = {"learner": "ppo", "batch": 32, "lr": 1e-3, "core.controller": "lstm", "outer_steps": 300}  # 960 steps each

T_MAZE_LONG = _study(
    "t_maze_long",
    {"lstm": NOISY | {"core": "lstm"}, "amrl": NOISY | {"core": "amrl"}},
    {"length": 3},
    name="t-maze-long",
    claim="A maximum over time of half of an LSTM's outputs (AMRL) learns through noise sooner than the LSTM alone.",
    score="episodic_return",
    threshold=3.6,
    seeds=10,
)

I_MAZE = _study(
    "i_maze",
    {core: {"core": core, "outer_steps": 100} for core in ("frmqn", "rmqn", "mqn", "lstm", "gru")}
    | {"memoryless": {"core": "feedforward", "outer_steps": 100}},
    {"length": 3, "core.slots": 8},
    name="i-maze",
    claim="Agents that learn in corridors of 5 to 9 steps with a feedback memory Q-network (FRMQN) succeed in 95 % of "
    "corridors of 36 steps.",
    score="success",
    threshold=0.55,  # in training, where one explores: more than is to be had without a memory
    evaluations={"36 steps": {"length": 36}, "5 to 9 steps": {}},
)

SEARCH = {"side": 3, "core.map_size": 7, "outer_steps": 400, "lr": 3e-3, "schedule": "linear", "learner.minibatches": 2}

LABYRINTH = _study(
    "labyrinth",
    {"neural map": SEARCH, "gru": SEARCH | {"core": "gru"}, "memoryless": SEARCH | {"core": "feedforward"}},
    {"side": 2, "core.map_size": 5, "learner.horizon": 8},
    name="labyrinth",
    claim="In random mazes a neural map finds the indicated goal in 5 % more of the episodes than a GRU.",
    score="success",
    threshold=0.5,
    seeds=3,
)

PROOF = {"learner": "ppo", "batch": 16, "lr": 1e-3, "outer_steps": 97}  # 256 steps each: 24,832

PROOF_OF_MEMORY = _study(
    "proof_of_memory",
    {
        "gtrxl": PROOF | {"core": "gtrxl", "core.memory": 16, "core.key_size": 64, "core.heads": 2},
        "gru": PROOF,
        "memoryless": PROOF | {"core": "feedforward"},
    },
    {},
    name="proof-of-memory",
    claim="A gated transformer solves the proof of memory within 25,000 steps.",
    score="episodic_return",
    threshold=1.1,
)

IMITATION = {"cards": 8, "teacher": "dagger", "core.slots": 32, "outer_steps": 1000}

CARD_GAME_IMITATION = _study(
    "card_game",
    {core: IMITATION | {"core": core} for core in ("episodic", "gru")},
    {"cards": 4, "core.slots": 8},
    name="card-game-imitation",
    claim="The moves of a player with perfect memory are learned with an episodic memory, and not with a GRU alone.",
    score="accuracy",
    threshold=0.95,
)

GAME = {
    "cards": 4, "learner": "a2c", "batch": 128, "lr": 1e-3, "learner.entropy_weight": 0.01, "observe_previous": True,
    "core.slots": 16, "outer_steps": 1500,
}  # fmt: skip

CARD_GAME = _study(
    "card_game",
    {core: GAME | {"core": core} for core in ("episodic", "gru")},
    {},
    name="card-game",
    claim="By reward alone four cards are played with a mean return above 0.",
    score="episodic_return",
    threshold=0.0,
)

PREDICTED: dict[str, Any] = GAME | {  # entropy that falls: a player that is sure too soon turns known cards first
    "core": "merlin", "core.latent_size": 16, "lr": 2e-3, "schedule": "linear", "learner.entropy_weight": 0.08,
    "learner.entropy_schedule": "lr", "outer_steps": 500,
}  # fmt: skip

MERLIN = _study(
    "card_game",
    {
        "merlin": PREDICTED,
        "no prediction": PREDICTED | {"auxiliary_weights": {"negative_elbo": 0.0}},
        "policy gradient in predictor": PREDICTED | {"core.policy_gradient": True},
        "no retroactive writes": PREDICTED | {"core.discount": 1.0},
        "lstm": PREDICTED | {"core": "lstm"},
    },
    {},
    name="merlin",
    claim="A memory that is formed by prediction alone (MERLIN) plays four cards with a mean return above .5, and not "
    "without the loss of its predictor.",
    score="episodic_return",
    threshold=0.5,
    seeds=3,
)

CATCH_ARMS: dict[str, dict[str, Any]] = {  # to compare another learner is to add a line
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
    claim="The greedy policy of DQN catches every ball within 200 episodes, which are outer steps: median over seeds.",
    arms={name: Arm("catch", {"evaluate_every": 5} | flags) for name, flags in CATCH_ARMS.items()},
    score="episodic_return",
    threshold=0.99,
    curve="eval/episodic_return",  # of all episodes that there are
    milestones=(200,),
    episodes=None,
    seeds=8,
    quick=QuickOverrides(arguments={"rows": 4, "columns": 3, "outer_steps": 10}, milestones=(), episodes=None),
)

CART: dict[str, Any] = {"learner.sequence_length": 16, "evaluate_every": 2, "outer_steps": 60}
BALANCED: dict[str, Any] = {
    "score": "episodic_return",
    "threshold": 450.0,
    "curve": "eval/episodic_return",
}  # of the most likely actions, in 20 episodes after every second outer step

PREDICTIVE_DECODERS = _study(
    "cartpole",
    {"gru": CART, "gru with psd": CART | {"core": "psd"}},
    {},
    name="predictive-decoders",
    claim="With predictive-state decoders PPO balances a pole without velocities in .8 of the steps.",
    **BALANCED,
)

RPSP = _study(
    "cartpole",
    {"fitted": CART | {"core": "rpsp", "lr": 7e-4, "fit_steps": 2000}, "random": CART | {"core": "rpsp", "lr": 7e-4}},
    {"fit_steps": 80},
    name="rpsp",
    claim="A recurrent predictive state policy gets further with a filter fitted to random steps than a random one.",
    **BALANCED,
)

DREAMER = _study(
    "cartpole",
    {
        "dreamer": {"learner": "dreamer", "core": "rssm", "evaluate_every": 8},
        "ppo": {"outer_steps": 24, "evaluate_every": 2},
    },
    {"learner.train_length": 8, "learner.overlap": 4, "learner.gradient_steps": 1, "learner.imagine_steps": 2},
    name="dreamer",
    claim="In imagination Dreamer learns to balance a pole without velocities within 25,000 environment steps.",
    **BALANCED,
)

EVOLVED: dict[str, Any] = {  # V in 10 outer steps, M in 20, and 30 generations of 16 members with 4 episodes each
    "learner": "world_models", "core": "mdn_rnn", "batch": 4, "learner.population": 16, "outer_steps": 60,
    "evaluate_every": 3,
}  # fmt: skip
UNTRAINED: dict[str, Any] = EVOLVED | {"learner.memory_steps": 0, "outer_steps": 40}

WORLD_MODELS = _study(
    "cartpole",
    {
        "world models": EVOLVED,
        "untrained memory": UNTRAINED,
        "vision alone": UNTRAINED | {"core.hidden_size": 8, "core.latent_size": 8},
    },
    {
        "learner.train_length": 8, "learner.overlap": 4, "learner.random_steps": 100, "learner.gradient_steps": 1,
        "learner.vision_steps": 1, "learner.memory_steps": 1, "learner.population": 4,
    },
    name="world-models",
    claim="A linear controller of a model of 10,000 random steps balances a pole without velocities, also of a model "
    "whose memory is not trained, and not of one without.",
    seeds=3,
    **BALANCED | {"threshold": 400.0},
)  # fmt: skip

DEC_TIGER = _study(
    "dec_tiger",
    {"may not talk": {"bus": "silent"}, "may talk": {"bus": "attention"}},
    {"batch": 16, "steps": 2},
    name="dec-tiger",
    claim="Two agents that may talk get more in Dec-Tiger than the optimum of agents that may not.",
    score="team_return",
    threshold=None,  # training explores, and pays for each door that one opens alone
)

LOAD_UNLOAD_ARMS: dict[str, dict[str, Any]] = {
    "no notes": {"notes": 0},
    "one bit": {"notes": 1},
    "gru, no notes": {"notes": 0, "core": "gru"},
}

LOAD_UNLOAD = _study(
    "load_unload",
    {name: {"evaluate_every": 5} | flags for name, flags in LOAD_UNLOAD_ARMS.items()},
    {"steps": 8, "learner.horizon": 8},
    name="load-unload",
    claim="With one bit that its actions write, an agent without memory comes within 5 % of the optimum.",
    score="discounted_return",
    threshold=1.971,
    curve="eval/discounted_return",  # training ends an episode only every 200 steps
)

SMALL_BELIEF = {"core.hidden_size": 32, "core.particles": 12}  # 32 is enough for two coordinates

MOUNTAIN_HIKE = _study(
    "mountain_hike",
    {
        "kalman filter": {"core": "kalman_filter"} | SMALL_BELIEF,
        "dpfrl": {"core": "particle_filter"} | SMALL_BELIEF,
        "dvrl": {"core": "dvrl"} | SMALL_BELIEF,
        "gru": {"core": "gru"} | SMALL_BELIEF,
        "memoryless": {"core": "feedforward"} | SMALL_BELIEF,
    },
    {"steps": 5, "core.particles": 3},
    name="mountain-hike",
    claim="A learned belief of particles comes closer to the exact belief than a GRU on a hike by noisy observations.",
    score="episodic_return",
    threshold=-110.0,  # in training, where one explores
)

RL_MEMORY_STUDIES = (
    T_MAZE, T_MAZE_R2D2, T_MAZE_LONG, I_MAZE, LABYRINTH, PROOF_OF_MEMORY, CARD_GAME_IMITATION, CARD_GAME, MERLIN, CATCH,
    PREDICTIVE_DECODERS, RPSP, DREAMER, WORLD_MODELS, DEC_TIGER, LOAD_UNLOAD, MOUNTAIN_HIKE,
)  # fmt: skip
