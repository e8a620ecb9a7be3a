"""A task of ours played through what it is to other libraries: as an agent of ours would do in anyone's trainer.

Shapes: B episode, P agent of the world.
"""

from dataclasses import dataclass, field, replace
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from badger.policies.policies import Greedy, Policy, identity_policy
from badger.rollouts.env_libraries import LIBRARIES
from comms import get_by_name
from tasks import ActionSpace, Continuous, Step, Task


class EnvRoundTripState(NamedTuple):
    """envs: one for each episode. last_steps: what each told last, a batch of 1. Handles: a step changes the envs."""

    envs: list[Any]
    last_steps: list[Step]


@dataclass(frozen=True)
class EnvRoundTrip(Task):
    """The task, its every episode in an environment of that library: observations, rewards, ends, masks and scores
    come from there, and actions go there.

    Episodes are opened by the task itself, so that they are those that it would have drawn from the same generator.

    Args:
        library: "pettingzoo" or "gymnasium".

    Raises:
        ValueError: another library; a task that it does not serve.
    """

    task: Task
    library: str
    steps: int = field(init=False)

    def __post_init__(self) -> None:
        get_by_name(LIBRARIES, self.library, "library").make(self.task)
        for name in ("steps", "dtype", "fixed_length", "score", "better"):  # frozen: once, as it is made
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
        fresh, step = self.reset(len(mask), rng)
        both = zip(mask.tolist(), zip(*fresh, strict=True), zip(*state, strict=True), strict=True)
        chosen = [new if begins else old for begins, new, old in both]
        return EnvRoundTripState([env for env, _ in chosen], [told for _, told in chosen]), step

    def _wrap_reset(self, state: Any, step: Step, rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        """In environments, whose own seeds are drawn from a copy of rng, so that rng stands where the task left it."""
        if not isinstance(state, tuple):
            raise ValueError(f"{self.task} is a world of another library already: play it without `through`")
        made, rows = LIBRARIES[self.library], len(step.obs)
        seeds = torch.randint(2**31, (rows,), generator=rng.clone_state(), device=rng.device).tolist()
        envs, told = [], []
        for row, seed in enumerate(seeds):
            opened = type(state)(*(_row(leaf, row) for leaf in state)), _select_row(step, row)
            envs.append(made.make(self.task))
            told.append(made.reset(envs[-1], seed, *opened))
        return EnvRoundTripState(envs, told), _stack_rows(told, step.obs.device)

    def step(self, state: EnvRoundTripState, action: Tensor, rng: torch.Generator) -> tuple[EnvRoundTripState, Step]:
        """Of the rows whose episode is not over; the others tell the same again, and no reward."""
        if action.is_floating_point() and not isinstance(self.action_space, Continuous):
            raise ValueError(f"logits {tuple(action.shape)}, want integers: play with `chosen(policy, task.action)`")
        made = LIBRARIES[self.library]
        told = [
            _frozen_step(old) if _is_done(old) else made.step(env, given, old)
            for env, given, old in zip(state.envs, action.detach().cpu(), state.last_steps, strict=True)
        ]
        return EnvRoundTripState(state.envs, told), _stack_rows(told, action.device)


def policy_for_env(policy: Policy, action: ActionSpace) -> Policy:
    """The policy by which an agent acts outside: real numbers as they are put out, of logits the highest."""
    return Greedy(action) if policy is identity_policy and not isinstance(action, Continuous) else policy


def _is_done(step: Step) -> bool:
    return bool((step.terminated | step.truncated).all())


def _frozen_step(step: Step) -> Step:
    return step._replace(
        reward=torch.zeros_like(step.reward),
        scores={name: torch.full_like(score, torch.nan) for name, score in step.scores.items()},
    )


def _row(tensor: Tensor, row: int) -> Tensor:
    return tensor[row : row + 1].detach().cpu()


def _select_row(step: Step, row: int) -> Step:
    """A batch of one row, on the CPU."""
    parts = {name: getattr(step, name) for name in Step._fields if name != "scores"}
    cut = {name: None if part is None else _row(part, row) for name, part in parts.items()}
    return Step(**cut, scores={name: _row(score, row) for name, score in step.scores.items()})  # type: ignore[arg-type]


def _stack_rows(told: list[Step], device: torch.device) -> Step:
    """Batches of one row together, on the device."""

    def together(parts: list[Any]) -> Any:
        return None if parts[0] is None else torch.cat(parts).to(device)

    joined = {n: together([getattr(step, n) for step in told]) for n in Step._fields if n != "scores"}
    return Step(**joined, scores={n: together([step.scores[n] for step in told]) for n in told[0].scores})
