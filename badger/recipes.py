"""Recipes: typed functions whose keyword arguments are the whole configuration of a run.

`badger train guessing_game --experts 8` and `badger.build("guessing_game", experts=8)` are the same. A recipe of
one's own is any function that returns a `Run`, named `module:function`.
"""

import difflib
import importlib
import inspect
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

from badger import sense
from badger.run import Run
from badger.setup import Setup, recipe
from comms import pick
from experts import CORES, GRU, LSTM, Core, EpisodicMemory, Private
from tasks import GuessingGame, Ranges, RepeatPrevious, SequentialMNIST, Size, ends

Memory = Literal["none", "private", "shared"]


@recipe()
def guessing_game(
    setup: Setup,
    *,
    dims: Size = 4,
    steps: Size = 20,
    hidden_size: int = 64,
    memory: Memory = "private",
    slots: int = 64,
    top_k: int = 8,
    key_size: int = 16,
) -> Run:
    """Experts find a hidden vector when told only the error of their last guess (Andersson 2020).

    Args:
        dims: numbers to be guessed; two numbers: a range, drawn anew for each outer step.
        steps: guesses in an episode; two numbers: a range, drawn anew for each outer step.
        hidden_size: of an expert's GRU.
        memory: episodic memory of the experts: none, one each, or one for all.
        slots: rows of memory an expert; one for all has experts x slots.
        top_k: rows read in a step.
        key_size: numbers in a key.
    """
    rows = slots * ends(experts=setup.experts)[1] if memory == "shared" else slots
    options = {"slots": rows, "top_k": top_k, "key_size": key_size}
    core = partial(_remembering, memory=memory, controller=partial(GRU, hidden_size=hidden_size), options=options)
    senses = partial(sense.Total, scale=1 / 3)  # 3 mean -> the sum of squared errors
    return setup.run(Ranges(GuessingGame(), {"dims": dims, "steps": steps}).alone(), core, senses=senses)


@recipe(act="readout", lr=3e-3, outer_steps=500)
def repeat_previous(
    setup: Setup, *, k: int = 4, symbols: int = 4, steps: int = 16, hidden_size: int = 32, core: str = "gru"
) -> Run:
    """Experts name the symbol that was shown k steps ago (Morad et al. 2023): supervised, through logits.

    Args:
        k: how far back.
        symbols: how many there are.
        steps: symbols shown in an episode.
        hidden_size: of an expert's core.
        core: of an expert; `badger list` names all.
    """
    make = pick(CORES, core, "core")
    return setup.run(RepeatPrevious(k=k, symbols=symbols, steps=steps), lambda size: make(size, hidden_size))


@recipe(
    experts=1, topology="none", bus="silent", act="mean", identity_size=0, batch=128, lr=1e-3, schedule="constant",
    outer_steps=7820,
)  # fmt: skip
def sequential_mnist(
    setup: Setup,
    *,
    pixels: int = 7,
    permuted: bool = False,
    split: str = "train",
    data_dir: str | None = None,
    hidden_size: int = 128,
    memory: Memory = "private",
    slots: int = 112,
    top_k: int = 8,
    key_size: int = 32,
) -> Run:
    """One expert reads an image a few pixels a step and names the digit at the end (Andersson 2020; Le et al. 2015).

    An epoch of the 50,000 images is 391 outer steps of 128, and 7,820 of them are 20 epochs.

    Args:
        pixels: read in a step; 1 for pixel by pixel.
        permuted: pixels come in one random order.
        split: images to train on: train (50,000), or train+validation (60,000).
        data_dir: folder with the four idx files; $BADGER_DATA, or a download, if not given.
        hidden_size: of the LSTM.
        memory: episodic memory of the expert: none or private.
        slots: rows of memory.
        top_k: rows read in a step.
        key_size: numbers in a key.
    """
    options = {"slots": slots, "top_k": top_k, "key_size": key_size}
    core = partial(_remembering, memory=memory, controller=partial(LSTM, hidden_size=hidden_size), options=options)
    if pixels < 1 or 784 % pixels:
        raise ValueError(f"pixels={pixels}, want a divisor of 784, such as 7")
    task = SequentialMNIST(784 // pixels, data_dir=data_dir, split=split, permuted=permuted)
    return setup.run(task, core, betas=(0.9, 0.999))


def _remembering(
    input_size: int, *, memory: Memory, controller: Callable[[int], Core], options: dict[str, Any]
) -> Core:
    kinds: dict[str, Callable[[], Core]] = {
        "none": lambda: controller(input_size),
        "private": lambda: Private(EpisodicMemory(input_size, controller, **options)),
        "shared": lambda: EpisodicMemory(input_size, controller, **options),
    }
    return pick(kinds, memory, "memory")()


RECIPES: dict[str, Callable[..., Run]] = {
    "guessing_game": guessing_game,
    "repeat_previous": repeat_previous,
    "sequential_mnist": sequential_mnist,
}
"""Recipes by name."""


def find(name: str) -> Callable[..., Run]:
    """The recipe of that name, or a user's own `module:function`.

    Raises:
        ValueError: no such recipe, module or function.
    """
    if ":" not in name:
        return pick(RECIPES, name, "recipe")
    module, _, function = name.partition(":")
    try:
        found = getattr(importlib.import_module(module), function, None)
    except ModuleNotFoundError as error:
        raise ValueError(f"recipe {name!r}: {error}; run badger where `import {module}` works") from error
    if not callable(found):
        there = [n for n, v in vars(importlib.import_module(module)).items() if inspect.isfunction(v)]
        near = difflib.get_close_matches(function, there, 1)
        hint = f"; did you mean {near[0]!r}?" if near else f"; it has {', '.join(there) or 'no functions'}"
        raise ValueError(f"recipe {name!r}: module {module} has no function {function}{hint}")
    return found


def build(recipe: str, **arguments: Any) -> Run:
    """A new run that remembers how it was made, so that it can be loaded again.

    Raises:
        ValueError: unknown recipe, an argument that it does not have, or a value that it refuses.
    """
    function = find(recipe)
    unknown = set(arguments) - set(inspect.signature(function).parameters)
    if unknown:
        has = ", ".join(inspect.signature(function).parameters)
        raise ValueError(f"recipe {recipe!r} has no argument {sorted(unknown)}; it has {has}")
    run = function(**arguments)
    if not isinstance(run, Run):
        raise ValueError(f"recipe {recipe!r} returned {type(run).__name__}, want a badger.Run")
    run.recipe, run.arguments = recipe, arguments
    return run
