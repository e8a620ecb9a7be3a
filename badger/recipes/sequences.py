"""Sequences that one expert reads, to say something of them at the end or in between."""

from collections.abc import Callable
from functools import partial
from typing import Any

from badger import sense
from badger.recipes.flags import recipe
from badger.recipes.memories import MemoryFlags
from badger.recipes.settings import Setup
from badger.runs.run import Run
from experts import LSTM
from tasks import (
    AssociativeRecall,
    BAbI,
    Bucketed,
    Copy,
    DictionaryInference,
    IntOrRange,
    PrioritySort,
    RandomSizes,
    SequentialMNIST,
    Task,
    TaskDistribution,
    size_range,
)

ADAM_BETAS = (0.9, 0.999)  # torch's own betas, as published
SINGLE_EXPERT_DEFAULTS: dict[str, Any] = {
    "experts": 1, "topology": "none", "bus": "silent", "act": "mean", "identity_size": 0, "schedule": "constant",
    "lr": 1e-3,
}  # fmt: skip
SYMBOL_DEFAULTS = SINGLE_EXPERT_DEFAULTS | {
    "memory": "neural",
    "key_size": 100,
    "key_input_scale": 0.1,
}  # embedded, they are loud
ALGORITHMIC = SYMBOL_DEFAULTS | {"batch": 32, "outer_steps": 10_000, "slots": 128}


@recipe(**SINGLE_EXPERT_DEFAULTS, batch=128, outer_steps=7820, slots=112, key_size=32)
def sequential_mnist(
    setup: Setup,
    memories: MemoryFlags,
    *,
    pixels: int = 7,
    permuted: bool = False,
    split: str = "train",
    data_dir: str | None = None,
    hidden_size: int = 128,
) -> Run:
    """One expert reads an image a few pixels a step and names the digit at the end (Andersson 2020; Le et al. 2015).

    An epoch of the 50,000 images is 391 outer steps of 128, and 7,820 of them are 20 epochs.

    Args:
        pixels: read in a step; 1 for pixel by pixel.
        permuted: pixels come in one random order.
        split: images to train on: train (50,000), or train+validation (60,000).
        data_dir: folder with the four idx files; $BADGER_DATA, or a download, if not given.
        hidden_size: of the LSTM.
    """
    if pixels < 1 or 784 % pixels:
        raise ValueError(f"pixels={pixels}, want a divisor of 784, such as 7")
    task = SequentialMNIST(784 // pixels, data_dir=data_dir, split=split, permuted=permuted)
    return _make_sequence_run(setup, memories, task, hidden_size)


@recipe(**ALGORITHMIC)
def dictionary_inference(
    setup: Setup,
    memories: MemoryFlags,
    *,
    pairs: IntOrRange = 4,
    length: IntOrRange = 1,
    curriculum_steps: tuple[int, int] | None = None,
    embedding_size: int = 64,
    hidden_size: int = 100,
    clip: float = 10.0,
) -> Run:
    """One expert infers a dictionary from examples, and translates with it (Munkhdalai et al. 2019, section 4.1).

    Args:
        pairs: examples; the paper has 4, 8, 12 and 16. A range: drawn for each outer step.
        length: letters of a word; in the paper 1, 4, 8 and 12. A range: drawn for each outer step.
        curriculum_steps: outer steps from which on, and until which, sizes grow from the lower ends of the ranges to the upper
            ones (`tasks.RandomSizes.widening_curriculum`); None: they are drawn from the whole ranges throughout.
        embedding_size: numbers by which a symbol is known at first (`sense.Embedding`); 0: seen one-hot.
        hidden_size: of the LSTM.
        clip: largest norm of the gradient.
    """
    task = _with_curriculum(
        RandomSizes(DictionaryInference(), {"pairs": pairs, "length": length}),
        RandomSizes.widening_curriculum,
        curriculum_steps,
    )
    return _make_sequence_run(setup, memories, task, hidden_size, embedding_size, clip=clip)


@recipe(**ALGORITHMIC)
def copy(
    setup: Setup,
    memories: MemoryFlags,
    *,
    length: IntOrRange = 50,
    repeats: int = 2,
    symbols: int = 10,
    curriculum_steps: tuple[int, int] | None = None,
    embedding_size: int = 64,
    hidden_size: int = 100,
    clip: float = 10.0,
) -> Run:
    """One expert repeats a sequence, twice if not told otherwise (Munkhdalai et al. 2019, section 4.1).

    Args:
        length: symbols of the sequence. A range: drawn for each outer step.
        repeats: how often it is put out.
        symbols: different ones.
        curriculum_steps: outer steps from which on, and until which, lengths rise one at a time from the lower end of the range to
            the upper one (`tasks.RandomSizes.increasing_curriculum`); None: they are drawn from the whole range throughout.
        embedding_size: numbers by which a symbol is known at first (`sense.Embedding`); 0: seen one-hot.
        hidden_size: of the LSTM.
        clip: largest norm of the gradient.
    """
    task = _with_curriculum(
        RandomSizes(Copy(symbols=symbols, repeats=repeats), {"length": length}),
        RandomSizes.increasing_curriculum,
        curriculum_steps,
    )
    return _make_sequence_run(setup, memories, task, hidden_size, embedding_size, clip=clip)


@recipe(**ALGORITHMIC)
def priority_sort(
    setup: Setup,
    memories: MemoryFlags,
    *,
    vectors: int = 20,
    answers: int = 16,
    bits: int = 8,
    embedding_size: int = 64,
    hidden_size: int = 100,
    clip: float = 10.0,
) -> Run:
    """One expert puts vectors out in the order of their priorities (Graves et al. 2014, section 4.5).

    Args:
        vectors: shown.
        answers: put out, those of the highest priorities.
        bits: of a vector.
        embedding_size: numbers by which a symbol is known at first (`sense.Embedding`); 0: seen one-hot.
        hidden_size: of the LSTM.
        clip: largest norm of the gradient.
    """
    return _make_sequence_run(
        setup, memories, PrioritySort(vectors, answers, bits), hidden_size, embedding_size, clip=clip
    )


@recipe(**ALGORITHMIC)
def associative_recall(
    setup: Setup,
    memories: MemoryFlags,
    *,
    items: int = 6,
    vectors: int = 3,
    bits: int = 6,
    embedding_size: int = 64,
    hidden_size: int = 100,
    clip: float = 10.0,
) -> Run:
    """One expert names the item that came after the one it is asked for (Graves et al. 2014, section 4.3).

    Args:
        items: shown.
        vectors: of an item.
        bits: of a vector.
        embedding_size: numbers by which a symbol is known at first (`sense.Embedding`); 0: seen one-hot.
        hidden_size: of the LSTM.
        clip: largest norm of the gradient.
    """
    return _make_sequence_run(
        setup, memories, AssociativeRecall(items, vectors, bits), hidden_size, embedding_size, clip=clip
    )


@recipe(**SYMBOL_DEFAULTS, batch=128, outer_steps=60_000, slots=256, heads=3)
def babi(
    setup: Setup,
    memories: MemoryFlags,
    *,
    tasks: tuple[int, ...] = tuple(range(1, 21)),
    max_words: IntOrRange = 256,
    curriculum_steps: tuple[int, int] | None = None,
    split: str = "train",
    dataset_version: str = "en-valid-10k",
    data_dir: str | None = None,
    substitute: bool = False,
    embedding_size: int = 64,
    hidden_size: int = 256,
    clip: float = 10.0,
) -> Run:
    """One expert reads stories word by word and answers questions (Weston et al. 2015; Munkhdalai et al. 2019).

    Args:
        tasks: which of the 20.
        max_words: words of the longest story, with its question; longer ones are counted and left out. A range: drawn for
            each outer step, and only stories beyond its upper end are left out.
        curriculum_steps: outer steps from which on, and until which, that limit rises from the lower end of its range to the upper
            one (`tasks.RandomSizes.increasing_curriculum`); None: it is drawn from the whole range throughout.
        split: questions to train on: train, or train+validation.
        dataset_version: folder of the files: en-valid-10k, or en-valid, with a tenth of the questions.
        data_dir: folder with the files' folder; $BADGER_DATA, or a download, if not given.
        substitute: train on what else there is of a task whose training file is missing, which a warning tells.
        embedding_size: numbers by which a symbol is known at first (`sense.Embedding`); 0: seen one-hot.
        hidden_size: of the LSTM.
        clip: largest norm of the gradient.
    """
    _, longest = size_range(limit=max_words)
    task = BAbI(
        longest, tasks, data_dir=data_dir, folder=dataset_version, split=split, substitute=substitute, max_words=longest
    )  # fmt: skip
    stories = Bucketed(
        _with_curriculum(RandomSizes(task, {"steps": max_words}), RandomSizes.increasing_curriculum, curriculum_steps)
    )
    return _make_sequence_run(setup, memories, stories, hidden_size, embedding_size, clip=clip)


def _with_curriculum(
    sizes: RandomSizes, how: Callable[[RandomSizes, int, int], TaskDistribution], grow: tuple[int, int] | None
) -> Task | TaskDistribution:
    """The task with sizes drawn for each outer step, and, if there are two of these, growing between them."""
    return how(sizes, *grow) if grow else sizes.simplify()


def _make_sequence_run(
    setup: Setup,
    memories: MemoryFlags,
    task: Task | TaskDistribution,
    hidden_size: int,
    embedding: int = 0,
    **learning: Any,
) -> Run:
    core = memories.core_factory(partial(LSTM, hidden_size=hidden_size), setup.experts)
    senses = partial(sense.Embedding, size=embedding) if embedding else sense.Broadcast
    return setup.make_run(
        task, core, make_sense=senses, betas=ADAM_BETAS, auxiliary=memories.auxiliary_weights, **learning
    )
