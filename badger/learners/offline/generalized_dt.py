"""The learner of a Generalised Decision Transformer: actions given the rewards that followed them."""

import torch

from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import host
from badger.learners.offline.base import Offline
from badger.learners.offline.returns_to_go import READ_EPISODES, ReturnsToGo
from badger.learners.offline.windows import Windows
from badger.learners.schedules import LearningRate
from experts import GeneralizedDT, with_return_to_go
from experts.state import State
from tasks import Task


class GeneralizedDTLearner(Offline):
    """Imitation of recorded actions by an agent that is told which rewards followed them, as a distribution or a code.

    As for a Decision Transformer, windows begin anywhere in an episode; the core is told what followed: the return, and
    the rewards as it describes them. The range of rewards is that of the data, and the agent asks for the rewards of
    the best episode, until it is given another target (`GeneralizedDT.ask`).

    Metrics: those of `Offline`.

    Args:
        agent: one expert with the core `GeneralizedDT`.
        task, data: as in `Offline`.
        sequence_length: steps of a window; None: the core's context.
        experts, batch, lr, auxiliary, eval_policy, clip, betas, eps, weight_decay, seed, rank: as in `Offline`.

    Raises:
        ValueError: as `Offline` does; another core.

    Source: Furuta, Matsuo and Gu 2022 (arXiv:2111.10364).
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
        core = agent.core
        if not isinstance(core, GeneralizedDT):
            raise ValueError(
                f"the agent's core is a {type(core).__name__}, which is not asked for a distribution: want core "
                "generalized_dt (--core generalized_dt)"
            )
        super().__init__(
            agent, task, data=data, sequence_length=core.context if sequence_length is None else sequence_length,
            experts=experts, batch=batch, lr=lr, auxiliary=auxiliary, eval_policy=eval_policy, clip=clip, betas=betas,
            eps=eps, weight_decay=weight_decay, seed=seed, rank=rank,
        )  # fmt: skip
        self.core = core
        self.returns_to_go: ReturnsToGo = host.on_host(ReturnsToGo, data)
        low, high, best = host.on_host(reward_range, data)
        core.future.fit(low, high)
        core.ask(best.to(self.updater.device))

    def _begin(self, state: State, windows: Windows) -> State:
        device = self.updater.device
        asked = host.on_host(self.returns_to_go.at, windows.rows, windows.start)
        state = with_return_to_go(state, asked.to(device), windows.start.to(device))
        following = host.on_host(self._following, windows)
        return self.core.with_future(state, *(part.to(device) for part in following))

    def _following(self, windows: Windows) -> tuple[torch.Tensor, torch.Tensor]:
        """The rewards from the start of each window to the end of its episode."""
        steps = int((self.data.length[windows.rows] - windows.start).max())
        episodes = self.data.windows(windows.rows, windows.start, steps)
        return episodes.reward, episodes.valid


def reward_range(data: EpisodeDataset) -> tuple[float, float, torch.Tensor]:
    """The lowest and the highest recorded reward, and the rewards of the first episode with the best return.

    Args:
        data: recorded episodes of one agent.
    """
    low, high = float("inf"), float("-inf")
    for rows in torch.arange(len(data)).split(READ_EPISODES):
        episodes = data[rows]
        reward = episodes.reward[episodes.valid]
        if len(reward):
            low, high = min(low, float(reward.min())), max(high, float(reward.max()))
    best = data[data.returns.argmax().unsqueeze(0)]
    return low, high, best.reward[0, : int(best.length[0])]
