"""Learners: one outer step each. A learner owns what lives for one training run: optimiser, replay, target nets."""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from badger.agent import Agent
from badger.learners.a2c import A2C
from badger.learners.bptt import BPTT
from badger.learners.ppo import PPO
from badger.learners.q_learning.drqn import DRQN
from badger.learners.q_learning.r2d2 import R2D2
from badger.learners.requirements import check_critic, check_task, requirement
from badger.policies.policies import Policy
from tasks import Task


@runtime_checkable
class Learner(Protocol):
    """What `train` and `Run` need of a learner.

    agent: what learns; its parameters are saved by the learner. step: outer steps done. seed: of all its streams.
    eval_policy: how the agent acts when it is looked at and judged.
    """

    agent: Agent
    task: Task
    step: int
    seed: int
    eval_policy: Policy

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; metrics as detached tensors, with `return` (higher is better), `finite`, and the means of
        the task's scores. Where processes share the run, each ends it with the same parameters and metrics
        (`badger.distributed.all_reduce_mean_`)."""

    def state_dict(self) -> dict[str, Any]:
        """Plain types and tensors: all that the next update depends on."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """From here on every update is as it would have been."""


LEARNERS: dict[str, type[Learner]] = {"a2c": A2C, "bptt": BPTT, "drqn": DRQN, "ppo": PPO, "r2d2": R2D2}
"""Learners by name, each `(agent, task, *, options) -> Learner`."""

__all__ = ["A2C", "BPTT", "DRQN", "LEARNERS", "PPO", "R2D2", "Learner", "check_critic", "check_task", "requirement"]
