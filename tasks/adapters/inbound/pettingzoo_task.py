"""Any world of PettingZoo (Terry et al. 2021, arXiv:2009.14471) as a task of several agents."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, partial
from typing import Any, ClassVar

import torch
from jaxtyping import Bool
from torch import Tensor

from tasks.adapters.inbound.checked_env import EnvLimits
from tasks.adapters.inbound.env_pool import EnvHandle, EnvPool, EnvStep
from tasks.adapters.inbound.multi_agent_env import MultiAgentEnv
from tasks.task import ActionSpace, Step, Task, check_positive


@dataclass(frozen=True, kw_only=True)
class PettingZoo(Task):
    """Copies of a world of PettingZoo, one for each episode of a batch; its P `possible_agents` are the task's agents.

    Observations are flattened with Gymnasium's own functions, and those of agents that see less are filled up with 0;
    agents that have fewer choices are told so by `legal`, as is an `action_mask`. Who has died or not yet come is not
    `present`. Choices are `Discrete` or `MultiDiscrete`, a box is `Continuous`: between its bounds, or between -1 and 1
    where those of the agents differ.

    The states are handles (`tasks.adapters.inbound.env_pool`). Scores: `reward`, the sum of an agent's rewards, mean
    over those that acted; `length`, in steps. Both are told where an episode ends.

    Args:
        env: a function that makes a `ParallelEnv`, or an `AECEnv` whose agents may act at once; its name,
            `module:function`; or a module that has a `parallel_env`, such as "mpe2.simple_spread_v3".
        steps: after which all who are left are truncated.
        agent_indicator: whether each agent sees its number besides, as one of P, so that one policy may have several roles.
        num_workers: that share the copies of a slow world; 1: this one alone.
        timeout: seconds that a step may take, with several processes; None: any.

    Raises:
        ValueError: no such world, agents without names, spaces that cannot be served, or a size below 1.
        WorldError: when played: a world raised, hangs, or told what makes no sense; with its row, seed and step.
    """

    env: str | Callable[[], Any]
    steps: int = 500
    agent_indicator: bool = False
    num_workers: int = 1
    timeout: float | None = None

    fixed_length: ClassVar[bool] = False
    external: ClassVar[bool] = True
    score: ClassVar[str] = "reward"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        _ = self._probe, self._pool  # which may refuse the world, or so many processes

    @cached_property
    def _factory(self) -> Callable[[], MultiAgentEnv]:
        return partial(MultiAgentEnv, self.env, self.steps, numbered=self.agent_indicator)

    @cached_property
    def _probe(self) -> MultiAgentEnv:
        """A copy to be asked what there is to see and to do."""
        one = self._factory()
        one.close()
        return one

    @cached_property
    def _pool(self) -> EnvPool:
        title = self.env if isinstance(self.env, str) else getattr(self.env, "__name__", str(self._probe.env))
        return EnvPool(self._factory, EnvLimits(title, timeout=self.timeout), processes=self.num_workers)

    @property
    def agent_names(self) -> tuple[str, ...]:
        """Of the agents."""
        return tuple(map(str, self._probe.agent_names))

    @property
    def obs_size(self) -> int:
        return self._probe.size

    @property
    def action_space(self) -> ActionSpace:
        return self._probe.action_codec.action_space

    @property
    def agents(self) -> int:
        return len(self.agent_names)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._step(*self._pool.reset(batch, rng), rng)

    def step(self, state: EnvHandle, action: Tensor, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._step(*state.step(action.detach().cpu().numpy()), rng)

    def restart(self, state: EnvHandle, mask: Bool[Tensor, " B"], rng: torch.Generator) -> tuple[EnvHandle, Step]:
        return self._step(*state.restart(mask, rng), rng)

    def references(self) -> dict[str, dict[str, float]]:
        return {}

    def _step(self, world: EnvHandle, told: EnvStep, rng: torch.Generator) -> tuple[EnvHandle, Step]:
        def numbers(name: str) -> Tensor:
            return torch.as_tensor(told.obs[name], dtype=self.dtype).to(rng.device)

        def flags(name: str) -> Tensor:
            return torch.as_tensor(told.obs[name], dtype=torch.bool).to(rng.device)

        made = torch.as_tensor(told.reward > 0).to(rng.device)  # not where the episode had ended, or has just begun
        over = torch.as_tensor(told.terminated | told.truncated).to(rng.device) & made
        scores = {"reward": "mean", "length": "length"}
        return world, Step(
            numbers("obs"),
            torch.where(made.unsqueeze(-1), numbers("reward"), 0),
            flags("terminated"),
            flags("truncated"),
            {name: torch.where(over, numbers(told_as), torch.nan) for name, told_as in scores.items()},
            flags("present"),
            flags("legal") if "legal" in told.obs else None,
        )
