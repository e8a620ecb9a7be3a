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

import torch

from badger import act, sense
from badger.agent import Agent
from badger.learners import BPTT
from badger.population import Population
from badger.rng import drawing_from, generator
from badger.run import Run
from badger.schedule import Schedule
from badger.stepping import Precision
from comms import BUSES, pick
from experts import CORES, GRU, Core, EpisodicMemory, Private
from tasks import GuessingGame, RepeatPrevious, Task

Memory = Literal["none", "private", "shared"]


def guessing_game(
    *,
    experts: int = 4,
    dims: int = 4,
    steps: int = 20,
    hidden_size: int = 64,
    message_size: int = 16,
    identity_size: int = 8,
    memory: Memory = "private",
    slots: int = 64,
    top_k: int = 8,
    key_size: int = 16,
    topology: str = "complete",
    bus: str = "attention",
    act: str = "each",
    batch: int = 64,
    lr: float = 2e-3,
    outer_steps: int = 1500,
    seed: int = 0,
    seeds: int = 1,
    device: str = "auto",
    segment: int | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    cuda_graph: bool = False,
) -> Run:
    """Experts find a hidden vector when told only the error of their last guess (Andersson 2020).

    Args:
        experts: how many, free after training.
        dims: numbers to be guessed.
        steps: guesses in an episode.
        hidden_size: of an expert's GRU.
        message_size: numbers in an inbox.
        identity_size: random numbers that tell experts apart, drawn for each episode.
        memory: episodic memory of the experts: none, one each, or one for all.
        slots: rows of memory an expert; one for all has experts x slots.
        top_k: rows read in a step.
        key_size: numbers in a key.
        topology: who hears whom: complete, ring, ring_lattice, grid, star, small_world, random_regular, none.
        bus: how they hear: silent, mean, attention, gated.
        act: how they answer together: mean, each, owners, readout.
        batch: episodes in an outer step.
        lr: peak of the learning rate, after 5 % of the outer steps; a half cosine leads from there to 0.
        outer_steps: updates of the shared policy.
        seed: of everything random.
        seeds: agents that are trained together, each as if alone, with seeds from `seed` on.
        device: cpu, cuda, or auto: cuda where there is one.
        segment: for long episodes: steps whose graph is kept at a time; the others are played twice.
        precision: float32, or bf16 for matrix products in bfloat16.
        compile: the agent's step by torch.compile.
        cuda_graph: capture an outer step once and replay it; on a GPU.
    """
    rows = slots * experts if memory == "shared" else slots
    options = {"slots": rows, "top_k": top_k, "key_size": key_size}
    core = partial(_remembering, memory=memory, hidden_size=hidden_size, options=options)
    return _by_gradient(
        GuessingGame(dims=dims, steps=steps),
        core,
        experts=experts,
        message_size=message_size,
        identity_size=identity_size,
        topology=topology,
        bus=bus,
        port=act,
        lr=lr,
        outer_steps=outer_steps,
        seed=seed,
        seeds=seeds,
        device=device,
        learning={
            "batch": batch, "segment": segment, "precision": precision, "compile": compile, "cuda_graph": cuda_graph
        },
    )  # fmt: skip


def repeat_previous(
    *,
    k: int = 4,
    symbols: int = 4,
    steps: int = 16,
    experts: int = 4,
    hidden_size: int = 32,
    core: str = "gru",
    message_size: int = 16,
    identity_size: int = 8,
    topology: str = "complete",
    bus: str = "attention",
    act: str = "readout",
    batch: int = 64,
    lr: float = 3e-3,
    outer_steps: int = 500,
    seed: int = 0,
    seeds: int = 1,
    device: str = "auto",
    segment: int | None = None,
    precision: Precision = "float32",
    compile: bool = False,
    cuda_graph: bool = False,
) -> Run:
    """Experts name the symbol that was shown k steps ago (Morad et al. 2023): supervised, through logits.

    Args:
        k: how far back.
        symbols: how many there are.
        steps: symbols shown in an episode.
        experts: how many.
        hidden_size: of an expert's core.
        core: gru, lstm, episodic, episodic_shared.
        message_size: numbers in an inbox.
        identity_size: random numbers that tell experts apart, drawn for each episode.
        topology: who hears whom: complete, ring, ring_lattice, grid, star, small_world, random_regular, none.
        bus: how they hear: silent, mean, attention, gated.
        act: how they answer together: mean, each, owners, readout.
        batch: episodes in an outer step.
        lr: peak of the learning rate, after 5 % of the outer steps; a half cosine leads from there to 0.
        outer_steps: updates of the shared policy.
        seed: of everything random.
        seeds: agents that are trained together, each as if alone, with seeds from `seed` on.
        device: cpu, cuda, or auto: cuda where there is one.
        segment: for long episodes: steps whose graph is kept at a time; the others are played twice.
        precision: float32, or bf16 for matrix products in bfloat16.
        compile: the agent's step by torch.compile.
        cuda_graph: capture an outer step once and replay it; on a GPU.
    """
    make = pick(CORES, core, "core")
    return _by_gradient(
        RepeatPrevious(k=k, symbols=symbols, steps=steps),
        lambda size: make(size, hidden_size),
        experts=experts,
        message_size=message_size,
        identity_size=identity_size,
        topology=topology,
        bus=bus,
        port=act,
        lr=lr,
        outer_steps=outer_steps,
        seed=seed,
        seeds=seeds,
        device=device,
        learning={
            "batch": batch, "segment": segment, "precision": precision, "compile": compile, "cuda_graph": cuda_graph
        },
    )  # fmt: skip


def _remembering(input_size: int, *, memory: Memory, hidden_size: int, options: dict[str, Any]) -> Core:
    controller = partial(GRU, hidden_size=hidden_size)
    kinds: dict[str, Callable[[], Core]] = {
        "none": lambda: controller(input_size),
        "private": lambda: Private(EpisodicMemory(input_size, controller, **options)),
        "shared": lambda: EpisodicMemory(input_size, controller, **options),
    }
    return pick(kinds, memory, "memory")()


def _by_gradient(
    task: Task,
    core: Callable[[int], Core],
    *,
    experts: int,
    message_size: int,
    identity_size: int,
    topology: str,
    bus: str,
    port: str,
    lr: float,
    outer_steps: int,
    seed: int,
    seeds: int,
    device: str,
    learning: dict[str, Any],
) -> Run:
    """A talking agent for the task, trained by BPTT with the options `learning`; or a population, one a seed."""
    if seeds < 1:
        raise ValueError(f"seeds={seeds}, want at least 1")
    where, schedule = resolve_device(device), Schedule(lr, total=outer_steps, warmup=outer_steps // 20)

    def agent() -> Agent:
        messages = message_size if bus != "silent" else 0
        made = core(task.obs_size + messages + identity_size)
        return Agent(
            sense=sense.Broadcast(task.obs_size),
            core=made,
            bus=pick(BUSES, bus, "bus")(made.output_size, messages),
            act=pick(act.ACTS, port, "act")(made.output_size, task.action.size),
            topology=topology,
            experts=experts,
            identity_size=identity_size,
        )

    members = []
    for each in range(seed, seed + seeds):
        with drawing_from(generator(each, "init")):
            members.append(BPTT(agent().to(where), task, lr=schedule, seed=each, **learning))
    return Run(members[0] if seeds == 1 else Population(members), outer_steps=outer_steps)


RECIPES: dict[str, Callable[..., Run]] = {"guessing_game": guessing_game, "repeat_previous": repeat_previous}
"""Recipes by name."""


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda where there is one. Raises ValueError for cuda where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}, but torch {torch.__version__} sees no CUDA device here; use cpu or auto")
    return device


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
