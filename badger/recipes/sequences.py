"""Recipes of sequences that one expert reads and answers at the end or in between."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from badger.recipes.flags import recipe
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import (
    AssociativeRecall,
    BAbI,
    BalletRecall,
    Bucketed,
    Copy,
    DictionaryInference,
    IntOrRange,
    NoisyViews,
    NthFarthest,
    Pathfinding,
    PrioritySort,
    RandomSizes,
    SequentialMNIST,
    Task,
    TaskDistribution,
    size_range,
)

SINGLE_EXPERT_DEFAULTS: dict[str, Any] = {
    "experts": 1, "topology": "none", "bus": "silent", "act": "mean", "identity_size": 0, "schedule": "constant",
    "lr": 1e-3, "core.heads": 1,
}  # fmt: skip
READER_DEFAULTS = SINGLE_EXPERT_DEFAULTS | {"core.controller": "lstm", "learner.betas": (0.9, 0.999)}  # as published
SYMBOL_DEFAULTS = READER_DEFAULTS | {
    "core": "neural_memory", "core.hidden_size": 100, "core.width": 100, "core.key_size": 100, "core.value_size": 100,
    "core.slot_size": 100, "core.key_input_scale": 0.1,  # embedded symbols are large beside the controller's output
    "sense": "embedding", "learner.clip": 10.0,
}  # fmt: skip
ALGORITHMIC_DEFAULTS = SYMBOL_DEFAULTS | {
    "batch": 32, "outer_steps": 10_000, "core.slots": 128, "core.memory": 128,
}  # fmt: skip


@recipe(
    **READER_DEFAULTS
    | {"batch": 128, "outer_steps": 7820, "core": "episodic", "core.hidden_size": 128, "core.slots": 112}
    | {"core.memory": 112, "core.key_size": 32, "core.value_size": 32, "core.width": 32, "core.slot_size": 32}
)
def sequential_mnist(
    setup: Setup,
    *,
    pixels: int = 7,
    permuted: bool = False,
    split: str = "train",
    data_dir: str | None = None,
) -> Run:
    """One expert reads an image a few pixels a step and names the digit at the end (Andersson 2020; Le et al. 2015).

    An epoch of the 50,000 images is 391 outer steps of 128, and 7,820 of them are 20 epochs.

    Args:
        pixels: pixels in a step; 1 for pixel by pixel.
        permuted: pixels in one fixed random order.
        split: images to train on: train (50,000), or train+validation (60,000).
        data_dir: folder with the four idx files; $BADGER_DATA, or a download, if not given.
    """
    if pixels < 1 or 784 % pixels:
        raise ValueError(f"pixels={pixels}, want a divisor of 784, such as 7")
    task = SequentialMNIST(784 // pixels, data_dir=data_dir, split=split, permuted=permuted)
    return setup.make_run(task)


@recipe(**ALGORITHMIC_DEFAULTS)
def dictionary_inference(
    setup: Setup,
    *,
    pairs: IntOrRange = 4,
    length: IntOrRange = 1,
    curriculum_steps: tuple[int, int] | None = None,
) -> Run:
    """One expert infers a dictionary from examples, and translates with it (Munkhdalai et al. 2019, section 4.1).

    Args:
        pairs: examples; the paper has 4, 8, 12 and 16. A range: drawn for each outer step.
        length: letters of a word; in the paper 1, 4, 8 and 12. A range: drawn for each outer step.
        curriculum_steps: first and last outer step in which sizes grow from the lower ends of the ranges to the upper
            ends (`tasks.RandomSizes.widening_curriculum`); default: the whole ranges throughout.
    """
    task = _with_curriculum(
        RandomSizes(DictionaryInference(), {"pairs": pairs, "length": length}),
        RandomSizes.widening_curriculum,
        curriculum_steps,
    )
    return setup.make_run(task)


@recipe(**ALGORITHMIC_DEFAULTS)
def copy(
    setup: Setup,
    *,
    length: IntOrRange = 50,
    repeats: int = 2,
    symbols: int = 10,
    curriculum_steps: tuple[int, int] | None = None,
) -> Run:
    """One expert repeats a sequence, twice by default (Munkhdalai et al. 2019, section 4.1).

    Args:
        length: symbols of the sequence. A range: drawn for each outer step.
        repeats: number of repetitions.
        symbols: number of different symbols.
        curriculum_steps: first and last outer step in which lengths rise from the lower end of the range to the upper
            end (`tasks.RandomSizes.increasing_curriculum`); default: the whole range throughout.
    """
    task = _with_curriculum(
        RandomSizes(Copy(symbols=symbols, repeats=repeats), {"length": length}),
        RandomSizes.increasing_curriculum,
        curriculum_steps,
    )
    return setup.make_run(task)


@recipe(**ALGORITHMIC_DEFAULTS)
def priority_sort(
    setup: Setup,
    *,
    vectors: int = 20,
    answers: int = 16,
    bits: int = 8,
) -> Run:
    """One expert outputs vectors in the order of their priorities (Graves et al. 2014, section 4.5).

    Args:
        vectors: number of vectors shown.
        answers: number of vectors in the output: those of the highest priorities.
        bits: bits in a vector.
    """
    return setup.make_run(PrioritySort(vectors, answers, bits))


@recipe(**ALGORITHMIC_DEFAULTS)
def associative_recall(
    setup: Setup,
    *,
    items: int = 6,
    vectors: int = 3,
    bits: int = 6,
) -> Run:
    """One expert outputs the item that came after the queried item (Graves et al. 2014, section 4.3).

    Args:
        items: number of items shown.
        vectors: vectors in an item.
        bits: bits in a vector.
    """
    return setup.make_run(AssociativeRecall(items, vectors, bits))


@recipe(
    **READER_DEFAULTS
    | {"batch": 64, "outer_steps": 1000, "core": "episodic", "core.hidden_size": 24, "core.slots": 12}
    | {"core.memory": 12, "core.threshold": 0.7, "core.key_size": 32, "core.value_size": 32, "core.width": 32}
    | {"core.slot_size": 32, "lr": 3e-3, "schedule": "cooldown"}
)
def noisy_recall(
    setup: Setup,
    *,
    items: int = 4,
    vectors: int = 1,
    bits: int = 6,
    views: int = 4,
    size: int = 64,
    noise: float = 0.3,
) -> Run:
    """One expert recalls the item after the queried one from noisy, high-dimensional views, with few slots.

    Args:
        items: number of items shown.
        vectors: vectors in an item.
        bits: bits in a vector.
        views: steps in which each vector is shown, each with new noise.
        size: numbers in an observation.
        noise: standard deviation of the noise in each number.
    """
    return setup.make_run(NoisyViews(AssociativeRecall(items, vectors, bits), size, noise, views))


@recipe(
    **SYMBOL_DEFAULTS
    | {"batch": 128, "outer_steps": 60_000, "core.hidden_size": 256, "core.slots": 256, "core.memory": 256}
    | {"core.heads": 3}
)
def babi(
    setup: Setup,
    *,
    tasks: tuple[int, ...] = tuple(range(1, 21)),
    max_words: IntOrRange = 256,
    curriculum_steps: tuple[int, int] | None = None,
    split: str = "train",
    dataset_version: str = "en-valid-10k",
    data_dir: str | None = None,
    substitute: bool = False,
    simulated: int = 0,
) -> Run:
    """One expert reads stories word by word and answers questions (Weston et al. 2015; Munkhdalai et al. 2019).

    Args:
        tasks: which of the 20.
        max_words: words of the longest story including its question; longer ones are counted and left out. A range:
            drawn for each outer step, and only stories beyond its upper end are left out.
        curriculum_steps: first and last outer step in which that limit rises from the lower end of its range to the
            upper end (`tasks.RandomSizes.increasing_curriculum`); default: the whole range throughout.
        split: questions to train on: train, or train+validation.
        dataset_version: folder of the files: en-valid-10k, or en-valid, with a tenth of the questions.
        data_dir: folder with the files' folder; $BADGER_DATA, or a download, if not given.
        substitute: where the training file of a task is missing, train on its other files, with a warning.
        simulated: simulated questions of task 3 that are added to its training questions, with a warning.
    """
    if not dataset_version or Path(dataset_version).name != dataset_version:
        raise ValueError(f"dataset_version={dataset_version!r}, want the name of a folder, such as en-valid-10k")
    _, longest = size_range(limit=max_words)
    task = BAbI(
        longest, tasks, data_dir=data_dir, folder=dataset_version, split=split, substitute=substitute,
        simulated=simulated, max_words=longest,
    )  # fmt: skip
    stories = Bucketed(
        _with_curriculum(RandomSizes(task, {"steps": max_words}), RandomSizes.increasing_curriculum, curriculum_steps)
    )
    return setup.make_run(stories)


@recipe(
    **READER_DEFAULTS
    | {"batch": 256, "outer_steps": 20_000, "core": "relational_memory", "core.hidden_size": 128, "core.slots": 8}
    | {"core.slot_size": 64}
)
def nth_farthest(setup: Setup, *, vectors: int = 8, size: int = 16) -> Run:
    """One expert says which vector is the Nth farthest from another one (Santoro et al. 2018, section 4.1).

    Args:
        vectors: number of vectors, which have a label each.
        size: numbers in a vector.
    """
    return setup.make_run(NthFarthest(vectors, size))


@recipe(
    **READER_DEFAULTS
    | {"batch": 128, "outer_steps": 5000, "core": "working_memory_graph", "core.hidden_size": 64, "core.slots": 16}
)
def pathfinding(setup: Setup, *, nodes: int = 7) -> Run:
    """One expert answers whether a path leads from one node to another (Loynd et al. 2020, section 4.1).

    Args:
        nodes: number of nodes, of which each link but the first shows a new one.
    """
    return setup.make_run(Pathfinding(nodes))


@recipe(
    **READER_DEFAULTS
    | {"batch": 64, "outer_steps": 600, "lr": 2e-3, "core": "hcam", "core.slots": 32, "core.chunk_size": 16}
    | {"core.heads": 2, "core.key_size": 64}
)
def ballet_recall(setup: Setup, *, dances: int = 8, delay: int = 16) -> Run:
    """One expert watches dances, and answers where the one that is named was danced (Lampinen et al. 2021).

    Args:
        dances: number of dancers, from 1 to 8.
        delay: steps from a dance to the next; 16 and 48 in the paper.
    """
    return setup.make_run(BalletRecall(dances, delay))


def _with_curriculum(
    sizes: RandomSizes,
    make_curriculum: Callable[[RandomSizes, int, int], TaskDistribution],
    curriculum_steps: tuple[int, int] | None,
) -> Task | TaskDistribution:
    """The task with sizes drawn for each outer step; with a curriculum between the two outer steps, if given."""
    return make_curriculum(sizes, *curriculum_steps) if curriculum_steps else sizes.simplify()
