"""The study `psr`: how well a predictive state representation predicts that was fitted to so many random steps.

Shapes: T step, E episode, A action, O observation.
"""

import numpy as np
import torch
from torch import Tensor

from badger.rng import seeded_generator
from badger.study.simulations.simulation import Curves, Simulation
from experts.belief import BeliefFilter, PSRFilter, fit_psr
from tasks import Pomdp
from tasks.pomdp import PomdpModel, load_model

EPISODE = 20  # steps


def simulate_psr(*, seed: int, model: str, length: int, steps: list[int], held_out: int) -> Curves:
    """Errors of one-step predictions in held-out episodes, after numbers of random steps.

    The error is the mean absolute difference to the probabilities of the exact filter, over steps of random actions,
    and over all actions and observations. The others are predictions from the last `length` steps, by the frequencies
    of what followed them.

    Args:
        seed: of the random steps.
        model: name or file of a POMDP.
        length: steps in histories and tests.
        steps: numbers of random steps, increasing.
        held_out: number of held-out episodes.
    """
    loaded, rng = load_model(model), seeded_generator(seed)
    inputs, target = _held_out(loaded, held_out, rng)
    y: dict[str, list[float]] = {"last steps": [], "psr": []}
    for count in steps:
        actions, observations = record_random_steps(loaded, max(2, count // EPISODE), EPISODE, rng)
        psr = fit_psr(
            actions.numpy(), observations.numpy(), action_names=loaded.actions,
            observation_names=loaded.observations, length=length,
        )  # fmt: skip
        core = PSRFilter(inputs.shape[-1], model=psr)
        states, _ = core.unroll(inputs, core.initial_state(inputs[0]))
        frequencies = _after_last_steps(loaded, actions.numpy(), observations.numpy(), inputs, length)
        known = target[length - 1 :]  # there are so many last steps
        y["psr"].append(float((core.probabilities(states)[length - 1 :] - known).abs().mean()))
        y["last steps"].append(float((frequencies - known).abs().mean()))
    return Curves(steps, y)


def record_random_steps(model: PomdpModel, episodes: int, steps: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Actions, drawn uniformly, and the observations after them, integers (E, T).

    Args:
        model: of the world.
        episodes: E.
        steps: T.
        rng: the generator.
    """
    task = Pomdp(steps, model)
    state, _ = task.reset(episodes, rng)
    actions, observations = [], []
    for _ in range(steps):
        action = torch.randint(len(model.actions), (episodes,), generator=rng)
        state, step = task.step(state, action, rng)
        actions.append(action)
        observations.append(step.obs.argmax(-1))
    return torch.stack(actions, 1), torch.stack(observations, 1)


def _held_out(model: PomdpModel, episodes: int, rng: torch.Generator) -> tuple[Tensor, Tensor]:
    """Inputs (T, E, 1, O + A) of episodes, and the probabilities (T, E, 1, A, O) that the exact filter predicts."""
    actions, observations = record_random_steps(model, episodes, EPISODE, rng)
    parts = (observations, len(model.observations)), (actions, len(model.actions))
    inputs = torch.cat([torch.nn.functional.one_hot(part, size).double() for part, size in parts], -1)
    inputs = inputs.transpose(0, 1).unsqueeze(2)
    core = BeliefFilter(inputs.shape[-1], model=model)
    beliefs, _ = core.unroll(inputs, core.initial_state(inputs[0]))
    moved = torch.einsum("...s,ast->...at", beliefs, core.transition)
    return inputs, torch.einsum("...at,ato->...ao", moved / moved.sum(-1, keepdim=True), core.observation)


def _after_last_steps(
    model: PomdpModel, actions: np.ndarray, observations: np.ndarray, inputs: Tensor, length: int
) -> Tensor:
    """Frequencies of observations after the last steps and each action, (T - length + 1, E, 1, A, O); 1 is added."""
    sizes = len(model.actions), len(model.observations)
    seen, histories = observations + sizes[1] * actions, (sizes[0] * sizes[1]) ** length
    counts = np.ones((histories, *sizes))
    history = _codes(seen, sizes[0] * sizes[1], length)[:, :-1]
    np.add.at(counts, (history, actions[:, length:], observations[:, length:]), 1)
    one_hot = inputs[:, :, 0]
    events = one_hot[..., : sizes[1]].argmax(-1) + sizes[1] * one_hot[..., sizes[1] :].argmax(-1)
    found = counts[_codes(events.T.numpy(), sizes[0] * sizes[1], length)]
    return torch.from_numpy(found / found.sum(-1, keepdims=True)).transpose(0, 1).unsqueeze(2)


def _codes(events: np.ndarray, kinds: int, length: int) -> np.ndarray:
    """A number for each sequence of so many events, (E, T - length + 1)."""
    last = events.shape[1] - length + 1
    return sum(events[:, i : i + last] * kinds**i for i in range(length))


PSR_STUDY = Simulation(
    name="psr",
    claim="A predictive state representation fitted to 1,000,000 random steps predicts observations with a mean error "
    "of at most .005.",
    simulate=simulate_psr,
    arms={
        name: {"model": name, "length": length, "steps": [1000, 10_000, 100_000, 1_000_000], "held_out": 500}
        for name, length in (("1d", 3), ("tiger.95", 2), ("shuttle", 2))
    },
    x="random steps",
    y="mean absolute error of a predicted probability",
    overtakes=("last steps", "psr"),
    seeds=5,
    quick={"steps": [500, 2000], "held_out": 20},
)
