"""R2D2: recurrent replay, distributed or not (Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed
Reinforcement Learning")."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import PrioritizedSampler, Sampler
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.q_learning.targets import SIGNED_HYPERBOLIC
from badger.learners.schedules import ApexEpsilon, EpsilonSchedule, LearningRate
from tasks import Task, TaskDistribution


class R2D2(RecurrentQ):
    """A `RecurrentQ` that replays prioritised sequences from what the agent knew when it was there (stored=False: from
    nothing), after a burn-in; Q(a) comes to h(n-step double Q), where h makes large returns small.

    sampler: None: `PrioritizedSampler()`. exploration: None: `ApexEpsilon()`. The rest as in `RecurrentQ`. The sizes of the paper, but
    for those of its 256 actors and its replay of millions of steps; learning rate 1e-4 and target network every 2500
    steps there, for networks and runs that are larger by orders of magnitude.
    """

    def __init__(
        self,
        agent: Agent,
        task: Task | TaskDistribution,
        *,
        train_length: int = 80,
        burn_in: int = 40,
        overlap: int = 40,
        stored_state: bool = True,
        capacity: int = 2000,
        sampler: Sampler | None = None,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.997,
        n_steps: int = 5,
        priority_eta: float = 0.9,
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
        clip: float | None = 40.0,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-3,
        weight_decay: float = 0.0,
        seed: int = 0,
        rank: int | None = None,
    ):
        super().__init__(
            agent,
            task,
            spec=SequenceSpec(train_length=train_length, burn_in=burn_in, overlap=overlap, stored_state=stored_state),
            capacity=capacity,
            sampler=PrioritizedSampler() if sampler is None else sampler,
            exploration=ApexEpsilon() if exploration is None else exploration,
            gamma=gamma,
            n_steps=n_steps,
            double_q=True,
            value_transform=SIGNED_HYPERBOLIC,
            priority_eta=priority_eta,
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
