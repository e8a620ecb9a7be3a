"""A task run through its Gymnasium or PettingZoo environments: evaluates an agent as an external trainer would.

Shapes: B episode, P agent of the environment.
"""

from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from badger.rollouts.env_libraries import LIBRARIES
from comms import get_by_name
from experts import state as states
from tasks import ActionSpace, Continuous, Mixed, Step, Task


class EnvRoundTripState(NamedTuple):
    """The state of an `EnvRoundTrip`. Environments are modified by a step, so that only the last state is usable.

    Args:
        envs: one for each episode.
        last_steps: the last result of each, a batch of 1.
    """

    envs: list[Any]
    last_steps: list[Step]


@dataclass(frozen=True)
class EnvRoundTrip(Task):
    """A task whose episodes run in environments of a library: observations, rewards, ends, masks and scores are theirs.

    The task itself samples the start of an episode, so that episodes equal those of the task with the same generator.

    Args:
        task: the task.
        library: "pettingzoo" or "gymnasium".
        steps: of the task.

    Raises:
        ValueError: an unknown library; a task that it does not support.
    """

    task: Task
    library: str
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        get_by_name(LIBRARIES, self.library, "library").make(self.task)
        for name in ("steps", "dtype", "fixed_length", "score", "better"):  # frozen dataclass: set once, here
            object.__setattr__(self, name, getattr(self.task, name))

    @property
    def obs_size(self) -> int:
        return self.task.obs_size

    @property
    def action_space(self) -> ActionSpace:
        return self.task.action_space

    @property
    def agents(self) -> int | None:
        return self.task.agents

    @property
    def num_episodes(self) -> int | None:
        return self.task.num_episodes

    @property
    def buckets(self) -> list[Task]:
        return [replace(self, task=part) for part in self.task.buckets]

    @property
    def notes(self) -> list[str]:
        return self.task.notes

    def references(self) -> dict[str, dict[str, float]]:
        return self.task.references()

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        return self._wrap_reset(*self.task.reset_to(index, rng), rng)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        return self._wrap_reset(*self.task.reset(batch, rng), rng)

    def restart(
        self, state: EnvRoundTripState, mask: Bool[Tensor, " B"], rng: torch.Generator
    ) -> tuple[EnvRoundTripState, Step]:
        new_state, step = self.reset(len(mask), rng)
        rows = zip(mask.tolist(), zip(*new_state, strict=True), zip(*state, strict=True), strict=True)
        merged = [new if restarts else old for restarts, new, old in rows]
        return EnvRoundTripState([env for env, _ in merged], [last_step for _, last_step in merged]), step

    def _wrap_reset(self, state: Any, step: Step, rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        """Starts the episodes in environments; their seeds come from a copy of rng, which is not advanced."""
        if self.task.external:
            raise ValueError(f"{self.task} has external environments already: evaluate it without env_api")
        library, batch = LIBRARIES[self.library], len(step.obs)
        seeds = torch.randint(2**31, (batch,), generator=rng.clone_state(), device=rng.device).tolist()
        envs, steps = [], []
        for row, seed in enumerate(seeds):
            envs.append(library.make(self.task))
            initial = states.map(partial(_select, row=row), state), _select_row(step, row)
            steps.append(library.reset(envs[-1], seed, *initial))
        return EnvRoundTripState(envs, steps), _stack_rows(steps, step.obs.device)

    def step(self, state: EnvRoundTripState, action: Tensor, rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        """One step of unfinished episodes; finished ones repeat their last step with zero reward.

        Args:
            state: the state.
            action: of the task.
            rng: not used.

        Raises:
            ValueError: logits instead of integers.
        """
        if _has_logits(action, self.action_space):
            raise ValueError(
                f"action has logits {tuple(action.shape)}, want integers of all choices: use "
                "policy_for_env(policy, task.action_space) of badger.policies.deterministic"
            )
        library = LIBRARIES[self.library]
        steps = [
            _frozen_step(last_step) if _is_done(last_step) else library.step(env, row_action, last_step)
            for env, row_action, last_step in zip(state.envs, action.detach().cpu(), state.last_steps, strict=True)
        ]
        return EnvRoundTripState(state.envs, steps), _stack_rows(steps, action.device)


def _has_logits(action: Tensor, space: ActionSpace) -> bool:
    match space:
        case Continuous():
            return False
        case Mixed(choices=choices, numbers=numbers):
            return action.shape[-1] != len(choices.nvec) + numbers.size
    return action.is_floating_point()


def _is_done(step: Step) -> bool:
    return bool((step.terminated | step.truncated).all())


def _frozen_step(step: Step) -> Step:
    """The last step of a finished episode again, with zero reward and without scores."""
    return step._replace(
        reward=torch.zeros_like(step.reward),
        scores={name: torch.full_like(score, torch.nan) for name, score in step.scores.items()},
    )


def _select(tensor: Tensor, row: int) -> Tensor:
    return tensor[row : row + 1].detach().cpu()


def _select_row(step: Step, row: int) -> Step:
    """A batch of one row, on the CPU."""
    parts = {name: getattr(step, name) for name in Step._fields if name != "scores"}
    fields = {name: None if part is None else _select(part, row) for name, part in parts.items()}
    return Step(**fields, scores={name: _select(score, row) for name, score in step.scores.items()})  # type: ignore[arg-type]


def _stack_rows(steps: list[Step], device: torch.device) -> Step:
    """Concatenates batches of one row, on a device."""

    def concat(parts: list[Any]) -> Any:
        return None if parts[0] is None else torch.cat(parts).to(device)

    fields = {name: concat([getattr(step, name) for step in steps]) for name in Step._fields if name != "scores"}
    return Step(**fields, scores={name: concat([step.scores[name] for step in steps]) for name in steps[0].scores})
