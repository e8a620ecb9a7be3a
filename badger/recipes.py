"""Recipes: typed functions whose keyword arguments are the whole configuration of a run.

`badger train guessing_game --experts 8` and `badger.build("guessing_game", experts=8)` are the same. A recipe of
one's own is any function that returns a `Run`, named `module:function`.
"""

import inspect
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from badger import sense
from badger.memories import Memories
from badger.named import named
from badger.run import Run
from badger.setup import Setup, recipe
from comms import pick
from experts import CORES, GRU, LSTM, Core, Predictive, Reconstruction
from tasks import GuessingGame, PooledRecall, Ranges, RepeatPrevious, SequentialMNIST, Size


@recipe()
def guessing_game(
    setup: Setup,
    memories: Memories,
    *,
    dims: Size = 4,
    steps: Size = 20,
    hidden_size: int = 64,
    cpc: float = 0.0,
    reconstruction: float = 0.0,
) -> Run:
    """Experts find a hidden vector when told only the error of their last guess (Andersson 2020).

    Args:
        dims: numbers to be guessed; two numbers: a range, drawn anew for each outer step.
        steps: guesses in an episode; two numbers: a range, drawn anew for each outer step.
        hidden_size: of an expert's GRU.
        cpc: weight of contrastive predictive coding of what is sensed and heard; 0: none.
        reconstruction: weight of the reconstruction of what is sensed and heard; 0: none.
    """
    remember = memories.core(partial(GRU, hidden_size=hidden_size), setup.experts)
    heard = GuessingGame().obs_size + (0 if setup.bus == "silent" else setup.message_size)  # an input less its identity
    auxiliary = {name: weight for name, weight in {"cpc": cpc, "reconstruction": reconstruction}.items() if weight}

    def core(size: int) -> Core:
        made = remember(size)
        made = Predictive(made, of=heard) if cpc else made
        return Reconstruction(made, of=heard) if reconstruction else made

    senses = partial(sense.Scaled, scale=2 / 3)  # of four dimensions, the sum of squared errors
    tasks = Ranges(GuessingGame(), {"dims": dims, "steps": steps}).alone()
    return setup.run(tasks, core, senses=senses, auxiliary=auxiliary)


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
    outer_steps=7820, slots=112, key_size=32,
)  # fmt: skip
def sequential_mnist(
    setup: Setup,
    memories: Memories,
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
    core = memories.core(partial(LSTM, hidden_size=hidden_size), setup.experts)
    if pixels < 1 or 784 % pixels:
        raise ValueError(f"pixels={pixels}, want a divisor of 784, such as 7")
    task = SequentialMNIST(784 // pixels, data_dir=data_dir, split=split, permuted=permuted)
    return setup.run(task, core, betas=(0.9, 0.999))


@recipe(act="mean", bus="silent", identity_size=2, lr=1e-2, outer_steps=400, memory="shared")
def pooled_recall(
    setup: Setup,
    memories: Memories,
    *,
    values: int = 4,
    steps: int = 8,
    asks: int = 4,
    hidden_size: int = 32,
) -> Run:
    """Experts are asked for what any of them has seen, and have no time to ask around: sharing a memory must help.

    Args:
        values: that there are to be told apart.
        steps: pairs shown to each expert, and questions.
        asks: questions.
        hidden_size: of an expert's GRU.
    """
    core = memories.core(partial(GRU, hidden_size=hidden_size), setup.experts)
    if not isinstance(setup.experts, int):
        raise ValueError(f"experts={setup.experts}, want one number: so many are shown something")
    task = PooledRecall(steps=steps, experts=setup.experts, values=values, asks=asks)
    return setup.run(task, core, senses=sense.Each)


RECIPES: dict[str, Callable[..., Run]] = {
    "guessing_game": guessing_game,
    "pooled_recall": pooled_recall,
    "repeat_previous": repeat_previous,
    "sequential_mnist": sequential_mnist,
}
"""Recipes by name."""


def find(name: str) -> Callable[..., Run]:
    """The recipe of that name, or a user's own `module:function`.

    Raises:
        ValueError: no such recipe, module or function.
    """
    return named(RECIPES, name, "recipe", lambda found: inspect.isfunction(found) or isinstance(found, partial))


def build(recipe: str, **arguments: Any) -> Run:
    """A new run that remembers how it was made, so that it can be loaded again.

    Raises:
        ValueError: unknown recipe, an argument that it does not have, or a value that it refuses.
    """
    function = find(recipe)
    known = inspect.signature(function).parameters
    unknown = set(arguments) - set(known)
    if unknown:
        has = ", ".join(known)
        raise ValueError(f"recipe {recipe!r} has no argument {sorted(unknown)}; it has {has}")
    run = function(**arguments)
    if not isinstance(run, Run):
        raise ValueError(f"recipe {recipe!r} returned {type(run).__name__}, want a badger.Run")
    run.recipe, run.arguments = recipe, arguments
    defaults = {name: flag.default for name, flag in known.items() if name not in arguments}
    run.defaults = {name: default for name, default in defaults.items() if _plain(default)}
    return run


def _plain(value: Any) -> bool:
    """Whether JSON knows it."""
    try:
        json.dumps(value)
    except TypeError:
        return False
    return True
