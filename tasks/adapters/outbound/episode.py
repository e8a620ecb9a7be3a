"""A task as a world that is played from outside: one episode after the other, numbers in, numbers out.

What `tasks.to_parallel_env` and `tasks.to_gymnasium` have in common.
"""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.adapters.outbound.rendering import render_ansi, render_rgb
from tasks.task import Step, Task

MODES = ["human", "rgb_array", "ansi"]
"""How an episode may be shown: printed, as a picture, as text."""


class Episode:
    """The one that is played now, a batch of 1, and the generator that it draws from.

    Args:
        render_mode: one of MODES, or None.

    Raises:
        ValueError: another render mode.
    """

    def __init__(self, task: Task, render_mode: str | None):
        if render_mode is not None and render_mode not in MODES:
            raise ValueError(f"render_mode={render_mode!r}, want one of: {', '.join(MODES)}; or None")
        self.task, self.render_mode = task, render_mode
        self.last_step: Step | None = None
        self.actions: list[Tensor] = []  # made in it, each with a batch of 1

    def reset(self, random: np.random.Generator, options: dict[str, Any] | None) -> Step:
        """A new one: drawn from `random` alone, or the one of the option "opened".

        options: {"opened": (state, step)}, as `Task.reset` gave them, a batch of 1; others are not looked at.
        """
        self.rng = torch.Generator().manual_seed(int(random.integers(2**63)))
        opened = (options or {}).get("opened")
        self.initial, self.last_step = self.task.reset(1, self.rng) if opened is None else opened
        self.state, self.actions = self.initial, []
        self._show()
        return self.last_step

    def step(self, action: Tensor) -> Step:
        """The world's answer.

        Raises:
            RuntimeError: there is no episode to go on with.
        """
        if self.last_step is None or self.done:
            raise RuntimeError(
                f"an episode of {self.task} {'is over' if self.last_step else 'was not begun'}: call reset()"
            )
        with torch.no_grad():
            self.state, self.last_step = self.task.step(self.state, action, self.rng)
        self.actions.append(action)
        self._show()
        return self.last_step

    @property
    def done(self) -> bool:
        assert self.last_step is not None
        return bool((self.last_step.terminated | self.last_step.truncated).all())

    @property
    def scores(self) -> dict[str, float]:
        """Those that are due."""
        assert self.last_step is not None
        told = {name: float(score[0]) for name, score in self.last_step.scores.items()}
        return {name: score for name, score in told.items() if score == score}

    def _show(self) -> None:
        if self.render_mode == "human":
            self.render()

    def render(self) -> np.ndarray | str | None:
        """What is to be seen now: a picture, a text; or nothing, and the text is printed."""
        if self.last_step is None:
            raise RuntimeError(f"an episode of {self.task} was not begun: call reset()")
        match self.render_mode:
            case "rgb_array":
                return render_rgb(self.task, self.initial, self.state, self.last_step, self.actions)
            case "ansi":
                return render_ansi(self.task, self.initial, self.last_step, self.actions)
            case "human":
                print(render_ansi(self.task, self.initial, self.last_step, self.actions))
        return None
