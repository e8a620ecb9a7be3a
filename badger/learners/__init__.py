"""Learners: one outer step each, by backpropagation through time or by reinforcement learning.

A learner owns the state of one training run: optimizer, replay buffer, target networks.

- `badger.learners.bptt`: `BPTT`, the gradient of differentiable rewards through whole episodes.
- `badger.learners.policy_gradient`: the actor-critic learners `A2C` and `PPO`; `REINFORCE`, by reward for choices and
  by gradient for the real numbers beside them.
- `badger.learners.q_learning`: `DQN`, `DRQN` and `R2D2`, deep Q-learning from replayed steps or sequences.
- `badger.learners.episodic_control`: `MFEC`, `NEC` and `EMDQN`, which remember returns in an `EpisodicStore`.
- `badger.learners.imagination`: `Dreamer`, which learns in what a world model imagines, and `WorldModels`, whose linear
  controller reads the state of one.
- `badger.learners.evolution`: `Evolution`, evolution strategies, which need no gradient of anything.
- `badger.learners.offline`: from recorded episodes: `BehaviorCloning`, `PercentBC`, Decision and Trajectory
  Transformers.
- `badger.learners.population`: several seeds trained as one batched computation.
- `badger.learners.returns`: returns and advantages, as pure functions.
- `badger.learners.schedules`: learning rates and exploration. `badger.learners.update`: the guarded optimizer step.
- `badger.learners.episode_stream`: episodes that continue from one outer step to the next.
- `badger.learners.expert_shares`: how the processes of a run share episodes or experts.
- `badger.learners.cuda_graph`, `badger.learners.tensor_tree`: capture of an outer step on a GPU.

`LEARNERS` has every learner by name. A learner of your own is one file with `update`, `state_dict` and
`load_state_dict`, and a line in `LEARNERS`.

```python
import badger

agent = badger.build_run("guessing_game", batch=4).learner.agent
learner = badger.BPTT(agent, badger.GuessingGame(dims=4, steps=5), batch=4)
metrics = learner.update()
assert metrics["finite"]
```
"""

from typing import Any, Protocol, runtime_checkable

from torch import Tensor

from badger.agent import Agent
from badger.learners.bptt import BPTT
from badger.learners.episodic_control.emdqn import EMDQN
from badger.learners.episodic_control.mfec import MFEC
from badger.learners.episodic_control.nec import NEC
from badger.learners.evolution.strategies import Evolution
from badger.learners.imagination.dreamer import Dreamer
from badger.learners.imagination.world_models import WorldModels
from badger.learners.offline.behavior_cloning import BehaviorCloning
from badger.learners.offline.decision_transformer import DecisionTransformerLearner
from badger.learners.offline.generalized_dt import GeneralizedDTLearner
from badger.learners.offline.percent_bc import PercentBC
from badger.learners.offline.trajectory_transformer import TrajectoryTransformerLearner
from badger.learners.policy_gradient.a2c import A2C
from badger.learners.policy_gradient.ppo import PPO
from badger.learners.policy_gradient.reinforce import REINFORCE
from badger.learners.q_learning.dqn import DQN
from badger.learners.q_learning.drqn import DRQN
from badger.learners.q_learning.r2d2 import R2D2
from badger.learners.requirements import check_critic, check_task, requirement
from badger.policies.policies import Policy
from tasks import Task


@runtime_checkable
class Learner(Protocol):
    """The interface of a learner, used by `train` and `Run`.

    Attributes:
        agent: the trained agent.
        task: the task, without randomized sizes.
        step: number of outer steps done.
        seed: seed of all random streams of the learner.
        eval_policy: the policy of evaluations and inspections.

    One that counts its environment steps, over all copies and processes, has them as `env_steps`, too: they decide how
    many episodes an evaluation has by default. One that can spread experts over processes has `acting_agent()`.
    """

    agent: Agent
    task: Task
    step: int
    seed: int
    eval_policy: Policy

    def update(self) -> dict[str, Tensor | float]:
        """One outer step; returns detached metrics.

        Among them `return` (mean return of the episodes that ended; higher is better), `episodes` (their number; 0:
        `return` is that of earlier ones), `finite`, and the means of the task's scores. A learner from recorded
        episodes lives none: `return` is NaN, and `data_return` the mean return of recorded ones. Where several
        processes share a run, all end the step with equal parameters and metrics
        (`badger.distributed.all_reduce_mean_`).
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything that the next update depends on, as plain types and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores a saved state, so that all further updates equal those of the saved learner.

        Args:
            state: from `state_dict`.
        """


def acting_agent(learner: Learner) -> Agent:
    """The agent that acts in this process: that of the learner, or the part of it with the experts of this process.

    Args:
        learner: any learner.
    """
    own = getattr(learner, "acting_agent", None)
    return learner.agent if own is None else own()


LEARNERS: dict[str, type[Learner]] = {
    "a2c": A2C,
    "behavior_cloning": BehaviorCloning,
    "bptt": BPTT,
    "decision_transformer": DecisionTransformerLearner,
    "dqn": DQN,
    "dreamer": Dreamer,
    "drqn": DRQN,
    "emdqn": EMDQN,
    "evolution": Evolution,
    "generalized_dt": GeneralizedDTLearner,
    "mfec": MFEC,
    "nec": NEC,
    "percent_bc": PercentBC,
    "ppo": PPO,
    "r2d2": R2D2,
    "reinforce": REINFORCE,
    "trajectory_transformer": TrajectoryTransformerLearner,
    "world_models": WorldModels,
}
"""Learners by name, each `(agent, task, *, options) -> Learner`."""

__all__ = [
    "A2C",
    "BPTT",
    "DQN",
    "DRQN",
    "EMDQN",
    "LEARNERS",
    "MFEC",
    "NEC",
    "PPO",
    "R2D2",
    "REINFORCE",
    "BehaviorCloning",
    "DecisionTransformerLearner",
    "Dreamer",
    "Evolution",
    "Learner",
    "PercentBC",
    "WorldModels",
    "acting_agent",
    "check_critic",
    "check_task",
    "requirement",
]
