"""The learner of a Decision Transformer: actions given the return that followed them."""

from typing import Any

from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import host
from badger.learners.offline.base import Offline
from badger.learners.offline.returns_to_go import ReturnsToGo
from badger.learners.offline.windows import Windows, balanced_weights
from badger.learners.schedules import LearningRate
from experts import with_return_to_go
from experts.state import State
from tasks import Task


class DecisionTransformerLearner(Offline):
    """Imitation of recorded actions by an agent that is told which return followed them (Decision Transformer).

    It draws windows of `sequence_length` steps that begin anywhere in an episode. At their start the core is told the
    return from that step on, and the number of the step. Windows of at most the core's context are computed in one
    pass. Longer ones slide, as when the agent acts; a core whose keys and values slide, too, wants windows that are
    longer than its context.

    Metrics: those of `Offline`.

    Args:
        agent: one expert with a core that is asked for a return, such as `DecisionTransformer`.
        task, data: as in `Offline`.
        sequence_length: steps of a window; None: the core's context.
        return_bins: draw episodes of so many ranges of returns equally often; 0: all episodes equally often, as
            published. Which returns are drawn does not change which actions follow from a return, but rare ones are
            learned sooner.
        experts, batch, lr, auxiliary, eval_policy, clip, betas, eps, weight_decay, seed, rank: as in `Offline`.

    Raises:
        ValueError: as `Offline` does; a core that is not asked for a return; data of several agents.

    Source: Chen et al. 2021 (arXiv:2106.01345).
    """

    takes_agents = False
    needs_previous = True

    def __init__(
        self,
        agent: Agent,
        task: Task,
        *,
        data: EpisodeDataset,
        sequence_length: int | None = None,
        return_bins: int = 0,
        experts: int | None = None,
        batch: int = 64,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "greedy",
        clip: float | None = 0.25,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 1e-4,
        seed: int = 0,
        rank: int | None = None,
    ):
        core: Any = agent.core
        if not hasattr(core, "target_return"):
            raise ValueError(
                f"the agent's core is a {type(core).__name__}, which is not asked for a return: want core "
                "decision_transformer (--core decision_transformer)"
            )
        longest = host.on_host(lambda: int(data.length.max()))
        if longest > core.max_time:
            raise ValueError(
                f"core.max_time={core.max_time}, want at least {longest}, the steps of the longest episode in the data"
            )
        if return_bins < 0:
            raise ValueError(f"return_bins={return_bins}, want at least 0")
        weights = host.on_host(balanced_weights, data.returns, return_bins) if return_bins and not task.agents else None
        steps = core.context if sequence_length is None else sequence_length
        super().__init__(
            agent, task, data=data, weights=weights, sequence_length=steps,
            experts=experts, batch=batch, lr=lr, auxiliary=auxiliary, eval_policy=eval_policy, clip=clip, betas=betas,
            eps=eps, weight_decay=weight_decay, seed=seed, rank=rank,
        )  # fmt: skip
        self.returns_to_go: ReturnsToGo = host.on_host(ReturnsToGo, data)

    def _begin(self, state: State, windows: Windows) -> State:
        device = self.updater.device
        asked = host.on_host(self.returns_to_go.at, windows.rows, windows.start)
        return with_return_to_go(state, asked.to(device), windows.start.to(device))
