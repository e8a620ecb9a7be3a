"""The current episode of a task, a batch of 1, shared by `tasks.to_gymnasium` and `tasks.to_parallel_env`."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from tasks.adapters.outbound.rendering import render_ansi, render_rgb
from tasks.task import Step, Task

MODES = ["human", "rgb_array", "ansi"]
"""Render modes: printed text, an image, text."""


class Episode:
    """The current episode of a task, a batch of 1, with its random generator.

    Args:
        task: the task.
        render_mode: one of MODES, or None.

    Raises:
        ValueError: another render mode.
    """

    def __init__(self, task: Task, render_mode: str | None):
        if render_mode is not None and render_mode not in MODES:
            raise ValueError(f"render_mode={render_mode!r}, want one of: {', '.join(MODES)}; or None")
        self.task, self.render_mode = task, render_mode
        self.last_step: Step | None = None
        self.actions: list[Tensor] = []  # of the episode so far, each with a batch of 1

    def reset(self, random: np.random.Generator, options: dict[str, Any] | None) -> Step:
        """Starts an episode, sampled from `random` or given by the option "initial".

        Args:
            random: seeds the generator of the episode.
            options: {"initial": (state, step)}, as `Task.reset` returned them for a batch of 1; other keys are ignored.
        """
        self.rng = torch.Generator().manual_seed(int(random.integers(2**63)))
        initial = (options or {}).get("initial")
        self.initial, self.last_step = self.task.reset(1, self.rng) if initial is None else initial
        self.state, self.actions = self.initial, []
        self._render_if_human()
        return self.last_step

    def step(self, action: Tensor) -> Step:
        """Advances the episode by one step.

        Args:
            action: the action of the task, with a batch of 1.

        Raises:
            RuntimeError: there is no episode, or it is over.
        """
        if self.last_step is None or self.done:
            raise RuntimeError(
                f"an episode of {self.task} {'is over' if self.last_step else 'was not started'}: call reset()"
            )
        with torch.no_grad():
            self.state, self.last_step = self.task.step(self.state, action, self.rng)
        self.actions.append(action)
        self._render_if_human()
        return self.last_step

    @property
    def done(self) -> bool:
        """Whether the episode is over, for all agents."""
        assert self.last_step is not None
        return bool((self.last_step.terminated | self.last_step.truncated).all())

    @property
    def scores(self) -> dict[str, float]:
        """The scores of the last step that are not NaN."""
        assert self.last_step is not None
        scores = {name: float(score[0]) for name, score in self.last_step.scores.items()}
        return {name: score for name, score in scores.items() if score == score}

    def _render_if_human(self) -> None:
        if self.render_mode == "human":
            self.render()

    def render(self) -> np.ndarray | str | None:
        """Renders the current step: an image, a text, or None after printing the text.

        Raises:
            RuntimeError: there is no episode.
        """
        if self.last_step is None:
            raise RuntimeError(f"an episode of {self.task} was not started: call reset()")
        match self.render_mode:
            case "rgb_array":
                return render_rgb(self.task, self.initial, self.state, self.last_step, self.actions)
            case "ansi":
                return render_ansi(self.task, self.initial, self.last_step, self.actions)
            case "human":
                print(render_ansi(self.task, self.initial, self.last_step, self.actions))
        return None
