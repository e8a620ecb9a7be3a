"""Published results that this project measures its own beside: figures and claims of papers.

A claim is that one arm is better than another. `Gymnasium's reward threshold` is the return from which on an
environment counts as solved there.
"""

from badger.registry import register
from badger.study.published.entry import PublishedResult

ROSA = "Rosa et al. 2019, Badger architecture"
ANDERSSON = "Andersson 2020, Learning in Badger experts improves with episodic memory"
MUNKHDALAI = "Munkhdalai et al. 2019, Metalearned neural memory"
RAE = "Rae et al. 2016, Sparse reads and writes"
CHEN = "Chen et al. 2021, Decision Transformer"
SOLVED = "Gymnasium's reward threshold"

ERRORS_BY_DIMS = {1: 0.078, 2: 0.022, 3: 0.028, 4: 0.050, 6: 0.133, 10: 0.489, 19: 0.822}  # agents trained on 3 to 6
ERRORS_BY_EXPERTS = {1: 1.19, 16: 0.144, 76: 0.144}  # agents trained with 5 to 40

GUESSING = [
    PublishedResult(
        name=f"guessing-{count}-{size}", text=f"guessing game with {count} {size}, error", source=ROSA,
        study="generalization", arm="episodic", evaluation=f"{count} {size}", published=error,
    )
    for size, errors in (("dims", ERRORS_BY_DIMS), ("experts", ERRORS_BY_EXPERTS)) for count, error in errors.items()
]  # fmt: skip

MEMORIES = [
    PublishedResult(
        name="memory-helps", text="steps to an error of .1 in the guessing game, with memory", source=ANDERSSON,
        study="memory-helps", arm="episodic", over="gru", measure="steps",
    ),
    PublishedResult(
        name="mnist-memory", text="sequential MNIST after 20 epochs, error of an LSTM with memory", source=ANDERSSON,
        study="sequential-mnist", arm="episodic", published=0.06,
    ),
    PublishedResult(
        name="mnist-lstm", text="sequential MNIST after 20 epochs, error of an LSTM", source=ANDERSSON,
        study="sequential-mnist", arm="lstm", published=0.10,
    ),
    PublishedResult(
        name="babi-neural-memory", text="bAbI, 20 tasks jointly, mean error", source=MUNKHDALAI,
        study="babi", arm="neural_memory", published=0.0055,
    ),
    PublishedResult(
        name="babi-lstm", text="bAbI, 20 tasks jointly, mean error of an LSTM", source=RAE,
        study="babi", arm="lstm", published=0.287,
    ),
    PublishedResult(
        name="sort-order", text="priority sort of 20: look-up table over neural memory", source=MUNKHDALAI,
        study="priority-sort", arm="lookup_table", over="neural_memory",
    ),
    PublishedResult(
        name="maze", text="episodes of a maze until a return of 15: neural memory over plastic weights",
        source=MUNKHDALAI, study="maze", arm="neural_memory", over="plastic", measure="steps",
    ),
    PublishedResult(
        name="amrl", text="steps until a T-maze of 100 noisy steps is solved: AMRL over LSTM",
        source="Beck et al. 2020, AMRL", study="t-maze-long", arm="amrl", over="lstm", measure="steps",
    ),
    PublishedResult(
        name="i-maze-frmqn", text="I-maze of 36 steps after training with 5 to 9: FRMQN over LSTM",
        source="Oh et al. 2016, Control of memory, active perception, and action in Minecraft",
        study="i-maze", arm="frmqn", over="lstm",
    ),
    PublishedResult(
        name="neural-map", text="random mazes with an indicator: neural map over a GRU",
        source="Parisotto and Salakhutdinov 2017, Neural map", study="labyrinth", arm="neural map", over="gru",
    ),
]  # fmt: skip

NOISY = [
    PublishedResult(
        name=f"noisy-recall-{arm.removeprefix('episodic_')}", text=f"recall from noisy views with few slots: {text}",
        source="Fortunato et al. 2019, Generalization of RL agents with working and episodic memory",
        study="noisy-recall", arm=arm, over="episodic",
    )
    for arm, text in (
        ("episodic_cpc", "contrastive predictive coding over none"),
        ("episodic_reconstruction", "reconstruction as auxiliary loss over none"),
    )
] + [
    PublishedResult(
        name="noisy-recall-clustered", text="recall from noisy views with few slots: similar rows merged over all rows",
        source=ANDERSSON, study="noisy-recall", arm="clustered", over="episodic",
    )
]  # fmt: skip

EPISODIC_CONTROL = [
    PublishedResult(
        name=f"catch-{arm}", text=f"episodes until every ball of Catch is caught: {arm.upper()} over DQN",
        source=source, study="catch", arm=arm, over="dqn", measure="steps",
    )
    for arm, source in (
        ("mfec", "Blundell et al. 2016, Model-free episodic control"),
        ("nec", "Pritzel et al. 2017, Neural episodic control"),
        ("emdqn", "Lin et al. 2018, Episodic memory deep Q-networks"),
    )
]  # fmt: skip

REPLAY = [
    PublishedResult(
        name=f"r2d2-{name}", text=f"first Q values of replayed sequences in noisy T-mazes: {arm} over {over}",
        source="Kapturowski et al. 2019, Recurrent experience replay", study="t-maze-r2d2", arm=arm, over=over,
    )
    for name, arm, over in (
        ("zero-state-burn-in", "zero state, burn-in", "zero state"),
        ("stored-state", "stored state", "zero state"),
        ("burn-in", "stored state, burn-in", "stored state"),
    )
]  # fmt: skip

BELIEFS = [
    PublishedResult(
        name="dec-tiger", text="Dec-Tiger, horizon 3, two agents that may not talk",
        source="Nair et al. 2003, Taming decentralized POMDPs: the optimum",
        study="dec-tiger", arm="may not talk", published=5.19,
    ),
    PublishedResult(
        name="load-unload", text="load/unload with one bit, discounted return: 95 % of the optimum",
        source="Peshkin et al. 1999, Learning policies with external memory; optimum 2.0748",
        study="load-unload", arm="one bit", published=1.971,
    ),
    PublishedResult(
        name="dvrl", text="Mountain Hike: learned particle belief over a GRU",
        source="Igl et al. 2018, Deep variational reinforcement learning",
        study="mountain-hike", arm="dvrl", over="gru",
    ),
    PublishedResult(
        name="psd", text="updates until a pole without velocities is balanced: predictive-state decoders over none",
        source="Venkatraman et al. 2017, Predictive-state decoders",
        study="predictive-decoders", arm="gru with psd", over="gru", measure="steps",
    ),
    PublishedResult(
        name="rpsp", text="pole without velocities: fitted start over a random one",
        source="Hefny et al. 2018, Recurrent predictive state policy networks",
        study="rpsp", arm="fitted", over="random",
    ),
]  # fmt: skip

CONTROL = [
    PublishedResult(
        name=f"control-{name.replace(', ', '-').replace(' ', '-')}", text=f"{name}, 200,000 steps, return",
        source=SOLVED, study="classic-control", arm=name, published=threshold,
    )
    for threshold, names in (
        (475.0, (
            "cart pole", "cart pole without velocities", "cart pole, a2c", "cart pole, dqn", "cart pole, drqn",
            "cart pole, r2d2", "cart pole without velocities, drqn", "cart pole without velocities, r2d2",
        )),
        (-100.0, ("acrobot", "acrobot, dqn", "acrobot, drqn", "acrobot, r2d2")),
        (90.0, ("mountain car",)),
    )
    for name in names
]  # fmt: skip

RECORDINGS = [
    PublishedResult(
        name="door-decision-transformer", text="Key-to-Door, 10,000 random episodes, success", source=CHEN,
        study="offline", arm="door-decision-transformer", published=0.946,
    ),
    PublishedResult(
        name="door-best-percent", text="Key-to-Door, cloning of the best episodes, success", source=CHEN,
        study="offline", arm="door-best-3-percent", published=0.951,
    ),
    PublishedResult(
        name="graph-decision-transformer", text="shortest paths from random walks, over behavior cloning",
        source=CHEN, study="offline", arm="graph-decision-transformer", over="graph-behavior-cloning",
    ),
]  # fmt: skip

PUBLISHED: dict[str, PublishedResult] = register(
    "published results",
    [
        (entry.name, entry)
        for entry in (*GUESSING, *MEMORIES, *NOISY, *EPISODIC_CONTROL, *REPLAY, *BELIEFS, *CONTROL, *RECORDINGS)
    ],
)  # fmt: skip
"""Published results by name."""
