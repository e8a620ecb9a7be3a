"""DQN: deep Q-learning from single replayed steps (Mnih et al. 2015)."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import UniformSampler
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.q_learning.targets import IDENTITY, huber
from badger.learners.schedules import EpsilonSchedule, LearningRate, LinearEpsilon
from tasks import Task, TaskDistribution


class DQN(RecurrentQ):
    """DQN: Q-learning of an agent without memory, on uniformly sampled steps and the Huber loss.

    It is recurrent Q-learning on sequences of one step. `double_q` makes it double DQN (van Hasselt et al. 2016), the
    output head `badger.act.Dueling` dueling DQN (Wang et al. 2016), and `n_steps` multi-step DQN: each step is stored
    with the n - 1 steps after it. The optimizer is AdamW, which without weight decay is Adam.

    Source: Mnih et al. 2015, Nature 518, 529.

    Args:
        agent: its core has no memory, such as `experts.Feedforward`, and its experts do not communicate.
        exploration: epsilon of each row; default: `LinearEpsilon()`.
        capacity: steps in the replay buffer.
        replay_batch: steps in an optimizer step, in each process.
        prefill: steps in the buffer before the first optimizer step.
        gamma, normalize_reward, n_steps, double_q, experts, batch, horizon, gradient_steps, target_update_interval, lr,
            clip, betas, eps, weight_decay, seed, rank: as in `RecurrentQ`.

    Raises:
        ValueError: an agent with a memory; or as `RecurrentQ` does.
    """

    needs_memoryless = True

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        capacity: int = 20_000,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.99,
        normalize_reward: bool = False,
        n_steps: int = 1,
        double_q: bool = False,
        experts: int | None = None,
        batch: int = 16,
        horizon: int = 4,
        gradient_steps: int = 16,
        replay_batch: int = 32,
        prefill: int = 500,
        target_update_interval: int = 500,
        lr: LearningRate = 1e-3,
        clip: float | None = 10.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        if n_steps < 1:
            raise ValueError(f"n_steps={n_steps}, want at least 1")
        super().__init__(
            agent,
            task,
            spec=SequenceSpec(1, 0, 0, lookahead=n_steps - 1, stored_state=False),
            capacity=capacity,
            sampler=UniformSampler(),
            exploration=LinearEpsilon() if exploration is None else exploration,
            gamma=gamma,
            n_steps=n_steps,
            normalize_reward=normalize_reward,
            double_q=double_q,
            value_transform=IDENTITY,
            priority_eta=0.9,
            error_loss=huber,
            experts=experts,
            batch=batch,
            horizon=horizon,
            gradient_steps=gradient_steps,
            replay_batch=replay_batch,
            prefill=prefill,
            target_update_interval=target_update_interval,
            discrepancy_interval=None,
            lr=lr,
            auxiliary=None,
            clip=clip,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            seed=seed,
            rank=rank,
        )
