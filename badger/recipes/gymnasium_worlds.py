"""Worlds of Gymnasium, of which we know nothing beforehand."""

import json
from functools import partial
from typing import Any

from badger.learners import A2C
from badger.memories import Memories
from badger.recipes.sequences import READER
from badger.run import Run
from badger.setup import Setup, recipe
from experts import GRU
from tasks import Gymnasium


@recipe(**READER | {"batch": 16, "lr": 3e-3, "outer_steps": 2000, "memory": "none"})
def gymnasium(
    setup: Setup,
    memories: Memories,
    *,
    env: str = "CartPole-v1",
    options: str | None = None,
    mask: tuple[int, ...] = (),
    mask_velocity: bool = False,
    steps: int = 0,
    processes: int = 1,
    timeout: float | None = None,
    hidden_size: int = 64,
    horizon: int = 32,
    gamma: float = 0.99,
    lam: float = 0.95,
    entropy_weight: float = 0.01,
) -> Run:
    """Experts act in any environment of Gymnasium, by A2C. A run that is resumed begins new episodes.

    Args:
        env: an id, as for gymnasium.make (package:id imports the package first), or a function that makes an
            environment, module:function.
        options: of the environment, in JSON, such as '{"render_mode": "rgb_array"}'.
        mask: numbers of the flat observation that are hidden.
        mask_velocity: hide the velocities, where it is known which they are.
        steps: after which an episode is truncated; 0: as the environment has it.
        processes: more than 1: workers that step the environments.
        timeout: seconds that a step may take; needs workers.
        hidden_size: of the GRU.
        horizon: steps in an outer step.
        gamma: discount of a step.
        lam: of lambda-returns; 1: n-step returns.
        entropy_weight: of the bonus for undecided choices.
    """
    task = Gymnasium(env, _options(options), mask, mask_velocity, processes, timeout, steps=steps)
    core = memories.core(partial(GRU, hidden_size=hidden_size), setup.experts)
    learning: dict[str, Any] = {"horizon": horizon, "gamma": gamma, "lam": lam, "entropy_weight": entropy_weight}
    return setup.run(task, core, learner=A2C, auxiliary=memories.auxiliary, **learning)


def _options(text: str | None) -> dict[str, Any]:
    try:
        options = json.loads(text or "{}")
    except json.JSONDecodeError as error:
        raise ValueError(f"options={text!r} is no JSON: {error}; write '{{\"name\": value}}'") from error
    if not isinstance(options, dict):
        raise ValueError(f"options={text!r}, want names and values in JSON, '{{\"name\": value}}'")
    return options
