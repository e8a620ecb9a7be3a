"""Studies of the memories against each other, on the tasks of metalearned neural memory (Munkhdalai et al. 2019)."""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study, make_arm
from experts.cores import general_memories


def _width(size: int) -> dict[str, Any]:
    """Numbers in a key, a value, a slot or a layer of a memory, whichever it has."""
    return {f"core.{name}": size for name in ("key_size", "value_size", "slot_size", "width")}


SMALL_RUN: dict[str, Any] = {"batch": 128, "lr": 3e-3, "core.hidden_size": 64, **_width(32)}  # for two CPU cores; LOG
COMPARED_MEMORIES = (
    "lstm", "episodic", "neural_memory", "neural_memory_gradient", "lookup_table", "dnc", "plastic",
)  # fmt: skip
TINY = {"core.hidden_size": 16, "core.slots": 16, "batch": 8, "outer_steps": 60, **_width(8)}


def _memory_arms(
    recipe: str, cores: tuple[str, ...] = COMPARED_MEMORIES, arguments: dict[str, Any] | None = None
) -> dict[str, Arm]:
    return {core: make_arm(recipe, {"core": core, **(arguments or {})}) for core in cores}


def _dictionary(
    level: tuple[int, int],
    threshold: float | None,
    milestones: tuple[int, ...] = (),
    beyond: tuple[int, int] | None = None,
    **arguments: Any,
) -> Study:
    """One level of the dictionary task; beyond: a level that is only evaluated."""
    pairs, length = level
    evaluations: dict[str, dict[str, Any]] = {"": {}}
    if beyond is not None:
        evaluations |= {"{}-{}".format(*beyond): dict(zip(("pairs", "length"), beyond, strict=True))}
    return Study(
        name=f"dictionary-{pairs}-{length}",
        claim=f"A neural memory learns dictionaries from {pairs} examples of {length} letters, with errors below 1 %.",
        arms=_memory_arms("dictionary_inference", arguments=SMALL_RUN | {"pairs": pairs, "length": length} | arguments),
        score="error",
        threshold=threshold,
        milestones=milestones,
        evaluations=evaluations,
        seeds=3,
        quick=QuickOverrides(
            arguments=TINY | {"pairs": 2, "length": 1, "curriculum_steps": None}, milestones=(), threshold=0.9
        ),
    )


def _growing(level: tuple[int, int], first_step: int, last_step: int) -> dict[str, Any]:
    """Sizes that grow: with the largest alone the plateau is not left within 1,200 updates (notebooks/LOG.md)."""
    pairs, length = level
    return {
        "pairs": (4, pairs),
        "length": (1, length),
        "curriculum_steps": (first_step, last_step),
        "schedule": "cooldown",
    }


DICTIONARIES = (
    _dictionary((4, 1), 0.01, outer_steps=2_500),
    _dictionary((8, 4), None, (2_000, 4_000), outer_steps=6_000, **_growing((8, 4), 700, 1_300)),
    _dictionary((12, 8), None, (1_000,), (16, 12), outer_steps=1_500, **_growing((12, 8), 400, 900)),
)

DOUBLE_COPY = Study(
    name="double-copy",
    claim="With a neural memory 50 symbols are repeated twice with an error below 1 %.",
    arms=_memory_arms(
        "copy",
        arguments=SMALL_RUN
        | _width(64)  # 32 are too few for 50 symbols
        | {
            "batch": 64,
            "outer_steps": 2_500,
            "schedule": "cooldown",
            "length": (20, 50),
            "curriculum_steps": (500, 1_100),
            "sense.size": 8,
            "learner.clip": 1.0,  # some gradients are 100 times as long as others; notebooks/LOG.md
        },
    ),
    score="error",
    threshold=None,  # shorter ones are learned first
    milestones=(1_100, 1_750),
    seeds=3,
    quick=QuickOverrides(arguments=TINY | {"length": 3, "curriculum_steps": None}, milestones=(), threshold=0.85),
)


def _sort(name: str, cores: tuple[str, ...] = COMPARED_MEMORIES, **arguments: Any) -> Study:
    return Study(
        name=name,
        claim="A look-up table and a neural memory sort 20 vectors with an error below 2 %.",
        arms=_memory_arms("priority_sort", cores, SMALL_RUN | {"lr": 2e-3, "schedule": "cooldown"} | arguments),
        score="error",
        threshold=0.02,
        seeds=3,
        quick=QuickOverrides(arguments=TINY | {"vectors": 3, "answers": 2, "bits": 3}, milestones=(), threshold=0.49),
    )


PRIORITY_SORTS = (
    _sort("priority-sort", outer_steps=4_000),
    _sort(  # twice as wide and twice as many outer steps; notebooks/LOG.md
        "priority-sort-wide",
        ("episodic", "lookup_table", "neural_memory"),
        **{"core.hidden_size": 128, "outer_steps": 8_000, **_width(64)},
    ),
)


def _every(name: str, claim: str, recipe: str, **arguments: Any) -> Study:
    """Every memory, at sizes with which a run takes a minute or two, so that several seeds can be trained."""
    return Study(
        name=name,
        claim=claim,
        arms=_memory_arms(
            recipe, arguments=SMALL_RUN | {"batch": 64, "core.slots": 32, "schedule": "cooldown"} | arguments
        ),
        score="error",
        threshold=0.01,
        seeds=3,
        quick=QuickOverrides(arguments=TINY, milestones=()),
    )


EVERY_MEMORY = (
    _every(
        "copy-10", "With any of the memories 10 symbols are repeated with an error below 1 %.",
        "copy", length=10, repeats=1, outer_steps=1_000,
    ),
    _every(
        "double-copy-10", "With any of the memories 10 symbols are repeated twice with an error below 1 %.",
        "copy", length=10, outer_steps=1_000,
    ),
    _every(
        "priority-sort-5", "With any of the memories 5 vectors are sorted with an error below 1 %.",
        "priority_sort", vectors=5, answers=4, bits=4, outer_steps=2_000,
    ),
    _every(
        "recall-4", "With any of the memories the item after one of 4 items is recalled with an error below 1 %.",
        "associative_recall", items=4, vectors=1, outer_steps=1_500,
    ),
)  # fmt: skip

BABI = Study(
    name="babi",
    claim="A neural memory answers the questions of all 20 tasks of bAbI with a mean error below that of an LSTM.",
    arms=_memory_arms(
        "babi",
        ("lstm", "episodic", "neural_memory"),
        SMALL_RUN
        | {
            "core.heads": 1,
            "substitute": True,
            "max_words": (24, 256),  # from stories of some two sentences on; notebooks/LOG.md
            "curriculum_steps": (800, 4_000),
            "outer_steps": 8_000,
            "schedule": "cooldown",
        },
    ),
    score="error",
    threshold=None,  # shorter ones are learned first
    milestones=(4_000,),  # 512,000 questions; an epoch has some 170,000
    episodes=None,
    evaluations={"test": {"split": "test"}, "validation": {"split": "validation"}},
    seeds=1,
    quick=QuickOverrides(
        arguments=TINY | {"tasks": [1], "max_words": 40, "curriculum_steps": None},
        milestones=(),
        episodes=None,
        threshold=0.9,
    ),
)

MAZE = Study(
    name="maze",
    claim="With a neural memory a maze is learned from fewer episodes than with plastic weights.",
    arms=_memory_arms("maze", ("lstm", "plastic", "neural_memory"), {"lr": 1e-3, "outer_steps": 700}),
    score="episodic_return",
    threshold=15.0,  # of 21,000 episodes; the published curves have 50 times as many
    milestones=(350,),
    seeds=3,
    quick=QuickOverrides(
        arguments=TINY | {"outer_steps": 4, "core.heads": 1}, milestones=(), threshold=0.0, episodes=16
    ),
)

BALLET = Study(
    name="ballet",
    claim="With chunks of the past the place of one of eight dances is recalled with an error below 5 %.",
    arms={
        "hcam": make_arm("ballet_recall", {}),
        "lstm": make_arm("ballet_recall", {"core": "lstm", "core.hidden_size": 118}),  # as many weights
        "gtrxl": make_arm("ballet_recall", {"core": "gtrxl", "core.hidden_size": 40, "core.memory": 128}),
    },
    score="error",
    threshold=0.05,
    evaluations={"": {}, "delay-48": {"delay": 48}},
    seeds=3,
    quick=QuickOverrides(arguments=TINY | {"dances": 2, "delay": 1, "core.chunk_size": 4}, milestones=()),
)


def _working_memory(
    task: str, claim: str, recipe: str, slots: int, arguments: dict[str, Any], tiny: dict[str, Any], **rest: Any
) -> Study:
    """Every registered memory and none, with fewer than 50,000 parameters and three minutes of one core a run."""
    sizes = {
        "core.hidden_size": 24,
        "core.slots": slots,
        "core.memory": slots,
        "core.latent_size": 16,
        "core.chunk_size": 2,
    }
    return Study(
        name=f"working-memory-{task}",
        claim=claim,
        arms=_memory_arms(recipe, (*general_memories(), "feedforward"), sizes | _width(16) | arguments),
        seeds=5,
        quick=QuickOverrides(arguments=tiny, milestones=(), episodes=64),
        **rest,
    )


WORKING_MEMORY = (
    _working_memory(
        "recall", "With any of the memories the item after one of 4 items is recalled with an error below 10 %.",
        "associative_recall", 16,
        {"items": 4, "vectors": 1, "batch": 64, "lr": 3e-3, "schedule": "cooldown", "outer_steps": 1200},
        TINY | {"items": 2, "core.memory": 8, "outer_steps": 3},
        score="error", threshold=0.1,
    ),
    _working_memory(
        "t-maze", "With any of the memories PPO solves a T-maze of 20 steps; without, half of the episodes succeed.",
        "t_maze", 32,
        {"learner": "ppo", "batch": 32, "lr": 2e-3, "learner.entropy_weight": 0.03, "outer_steps": 120},  # 80,640 steps
        TINY | {"length": 3, "core.memory": 4, "outer_steps": 3},
        score="success", threshold=0.55,  # in training, where one explores: more than is to be had without a memory
    ),
)  # fmt: skip

MEMORY_STUDIES = (*DICTIONARIES, *EVERY_MEMORY, *WORKING_MEMORY, DOUBLE_COPY, *PRIORITY_SORTS, BABI, MAZE, BALLET)
