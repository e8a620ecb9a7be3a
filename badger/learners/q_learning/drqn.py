"""DRQN: deep Q-learning with a recurrent network (Hausknecht and Stone 2015, arXiv:1507.06527)."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import UniformSampler
from badger.learners.q_learning.sequences import WHOLE_EPISODE, SequenceSpec
from badger.learners.q_learning.targets import IDENTITY
from badger.learners.schedules import EpsilonSchedule, LearningRate, LinearEpsilon
from tasks import Task, TaskDistribution


class DRQN(RecurrentQ):
    """DRQN: recurrent Q-learning on uniformly sampled sequences, replayed from a zero recurrent state.

    Whole episodes are replayed, or sequences of `train_length` steps that begin every `train_length - overlap` steps.
    The target is r + gamma max Q' of the target network.

    Source: Hausknecht and Stone 2015, arXiv:1507.06527.

    Args:
        train_length: steps of a sequence; default: whole episodes.
        overlap: steps that a sequence shares with the next one.
        exploration: epsilon of each row; default: `LinearEpsilon()`.
        capacity, gamma, normalize_reward, n_steps, double_q, experts, batch, horizon, gradient_steps, replay_batch,
            prefill, target_update_interval, discrepancy_interval, lr, auxiliary, clip, betas, eps, weight_decay, seed,
            rank: as in `RecurrentQ`.

    Raises:
        ValueError: as `RecurrentQ` does.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        train_length: int = WHOLE_EPISODE,
        overlap: int = 0,
        capacity: int = 2000,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.99,
        normalize_reward: bool = False,
        n_steps: int = 1,
        double_q: bool = False,
        experts: int | None = None,
        batch: int = 16,
        horizon: int = 20,
        gradient_steps: int = 4,
        replay_batch: int = 32,
        prefill: int = 16,
        target_update_interval: int = 100,
        discrepancy_interval: int | None = None,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        clip: float | None = 10.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        super().__init__(
            agent,
            task,
            spec=SequenceSpec(train_length=train_length, burn_in=0, overlap=overlap, stored_state=False),
            capacity=capacity,
            sampler=UniformSampler(),
            exploration=LinearEpsilon() if exploration is None else exploration,
            gamma=gamma,
            n_steps=n_steps,
            normalize_reward=normalize_reward,
            double_q=double_q,
            value_transform=IDENTITY,
            priority_eta=0.9,
            experts=experts,
            batch=batch,
            horizon=horizon,
            gradient_steps=gradient_steps,
            replay_batch=replay_batch,
            prefill=prefill,
            target_update_interval=target_update_interval,
            discrepancy_interval=discrepancy_interval,
            lr=lr,
            auxiliary=auxiliary,
            clip=clip,
            betas=betas,
            eps=eps,
            weight_decay=weight_decay,
            seed=seed,
            rank=rank,
        )
