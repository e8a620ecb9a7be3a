"""Studies of the memories against each other, on the tasks of metalearned neural memory (Munkhdalai et al. 2019)."""

from typing import Any

from badger.study.study import Arm, QuickOverrides, Study

SMALL_RUN: dict[str, Any] = {
    "batch": 128,
    "lr": 3e-3,
    "hidden_size": 64,
    "key_size": 32,
}  # what two cores can train; LOG
COMPARED_MEMORIES = ("none", "private", "neural", "neural_gradient", "lookup", "dnc", "plastic")
TINY = {"hidden_size": 16, "key_size": 8, "slots": 16, "batch": 8, "outer_steps": 60}


def _memory_arms(recipe: str, memories: tuple[str, ...] = COMPARED_MEMORIES, **arguments: Any) -> dict[str, Arm]:
    return {memory: Arm(recipe, {"memory": memory, **arguments}) for memory in memories}


def _dictionary(
    level: tuple[int, int],
    threshold: float | None,
    milestones: tuple[int, ...] = (),
    beyond: tuple[int, int] | None = None,
    **arguments: Any,
) -> Study:
    """beyond: also evaluated at that level, of which nothing is trained on."""
    pairs, length = level
    evaluations: dict[str, dict[str, Any]] = {"": {}}
    if beyond is not None:
        evaluations |= {"{}-{}".format(*beyond): dict(zip(("pairs", "length"), beyond, strict=True))}
    return Study(
        name=f"dictionary-{pairs}-{length}",
        claim=f"A neural memory learns dictionaries from {pairs} examples of {length} letters, with errors below 1 %.",
        arms=_memory_arms("dictionary_inference", **SMALL_RUN | {"pairs": pairs, "length": length} | arguments),
        score="error",
        threshold=threshold,
        milestones=milestones,
        evaluations=evaluations,
        seeds=3,
        quick=QuickOverrides(arguments=TINY | {"pairs": 2, "length": 1, "grow": None}, milestones=(), threshold=0.9),
    )


def _growing(level: tuple[int, int], begin: int, end: int) -> dict[str, Any]:
    """Where the largest sizes alone are trained on, the plateau is not left within 1,200 updates (LOG)."""
    pairs, length = level
    return {"pairs": (4, pairs), "length": (1, length), "grow": (begin, end), "schedule": "cooldown"}


DICTIONARIES = (
    _dictionary((4, 1), 0.01, outer_steps=2_500),
    _dictionary((8, 4), None, (2_000, 4_000), outer_steps=6_000, **_growing((8, 4), 700, 1_300)),
    _dictionary((12, 8), None, (1_000,), (16, 12), outer_steps=1_500, **_growing((12, 8), 400, 900)),
)

DOUBLE_COPY = Study(
    name="double-copy",
    claim="With a neural memory 50 symbols are said twice, with an error below 1 %.",
    arms=_memory_arms(
        "copy",
        **SMALL_RUN
        | {"batch": 64, "key_size": 64, "outer_steps": 2_500, "schedule": "cooldown"},  # 32 are too few for 50
        length=(20, 50),
        grow=(500, 1_100),
        embedding=8,
        clip=1.0,  # some gradients are 100 times as long as others; LOG
    ),
    score="error",
    threshold=None,  # shorter ones are learnt first
    milestones=(1_100, 1_750),
    seeds=3,
    quick=QuickOverrides(arguments=TINY | {"length": 3, "grow": None}, milestones=(), threshold=0.85),
)


def _sort(name: str, memories: tuple[str, ...] = COMPARED_MEMORIES, **arguments: Any) -> Study:
    return Study(
        name=name,
        claim="A look-up table and a neural memory sort 20 vectors with an error below 2 %.",
        arms=_memory_arms("priority_sort", memories, **SMALL_RUN | {"lr": 2e-3, "schedule": "cooldown"} | arguments),
        score="error",
        threshold=0.02,
        seeds=3,
        quick=QuickOverrides(arguments=TINY | {"vectors": 3, "answers": 2, "bits": 3}, milestones=(), threshold=0.49),
    )


PRIORITY_SORTS = (
    _sort("priority-sort", outer_steps=4_000),
    _sort(  # twice as wide, twice as long: what is there has to be made exact; LOG
        "priority-sort-wide", ("private", "lookup", "neural"), hidden_size=128, key_size=64, outer_steps=8_000
    ),
)


def _every(name: str, claim: str, recipe: str, **arguments: Any) -> Study:
    """Every memory, at sizes at which a run is a matter of a minute or two, so that several seeds can be trained."""
    return Study(
        name=name,
        claim=claim,
        arms=_memory_arms(recipe, **SMALL_RUN | {"batch": 64, "slots": 32, "schedule": "cooldown"} | arguments),
        score="error",
        threshold=0.01,
        seeds=3,
        quick=QuickOverrides(arguments=TINY, milestones=()),
    )


EVERY_MEMORY = (
    _every(
        "copy-10", "With any of the memories 10 symbols are said again, with an error below 1 %.",
        "copy", length=10, repeats=1, outer_steps=1_000,
    ),
    _every(
        "double-copy-10", "With any of the memories 10 symbols are said twice, with an error below 1 %.",
        "copy", length=10, outer_steps=1_000,
    ),
    _every(
        "priority-sort-5", "With any of the memories 5 vectors are sorted, with an error below 1 %.",
        "priority_sort", vectors=5, answers=4, bits=4, outer_steps=2_000,
    ),
    _every(
        "recall-4", "With any of the memories what came after one of 4 items is recalled, with an error below 1 %.",
        "associative_recall", items=4, vectors=1, outer_steps=1_500,
    ),
)  # fmt: skip

BABI = Study(
    name="babi",
    claim="A neural memory answers the questions of all 20 tasks of bAbI with a mean error below that of an LSTM.",
    arms=_memory_arms(
        "babi",
        ("none", "private", "neural"),
        **SMALL_RUN,
        heads=1,
        substitute=True,
        limit=(24, 256),  # from stories of some two sentences on; LOG
        grow=(800, 4_000),
        outer_steps=8_000,
        schedule="cooldown",
    ),
    score="error",
    threshold=None,  # shorter ones are learnt first
    milestones=(4_000,),  # 512,000 questions; an epoch has some 170,000
    episodes=None,
    evaluations={"test": {"split": "test"}, "validation": {"split": "validation"}},
    seeds=1,
    quick=QuickOverrides(
        arguments=TINY | {"tasks": [1], "limit": 40, "grow": None},
        milestones=(),
        episodes=None,
        threshold=0.9,
    ),
)

MAZE = Study(
    name="maze",
    claim="With a neural memory a maze is learnt from fewer episodes than with plastic weights.",
    arms=_memory_arms("maze", ("none", "plastic", "neural"), lr=1e-3, outer_steps=700),
    score="total_reward",
    threshold=15.0,  # of 21,000 episodes; the published curves have 50 times as many
    milestones=(350,),
    seeds=3,
    quick=QuickOverrides(arguments=TINY | {"outer_steps": 4, "heads": 1}, milestones=(), threshold=0.0, episodes=16),
)

MEMORY_STUDIES = (*DICTIONARIES, *EVERY_MEMORY, DOUBLE_COPY, *PRIORITY_SORTS, BABI, MAZE)
