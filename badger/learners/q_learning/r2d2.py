"""R2D2: recurrent experience replay (Kapturowski et al. 2019)."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import PrioritizedSampler, Sampler
from badger.learners.q_learning.sequences import SequenceSpec
from badger.learners.q_learning.targets import SIGNED_HYPERBOLIC
from badger.learners.schedules import ApexEpsilon, EpsilonSchedule, LearningRate
from tasks import Task, TaskDistribution


class R2D2(RecurrentQ):
    """R2D2: recurrent Q-learning on prioritized sequences, with stored states and burn-in.

    Sequences overlap and are replayed from the recurrent state stored when they were recorded (`stored_state=False`:
    from a zero state), with a burn-in without loss. The target is h(n-step double-Q return), where h compresses large
    returns. Sizes are those of the paper, except for its 256 actors and its replay of millions of steps; there the
    learning rate is 1e-4 and the target network is updated every 2,500 steps, for much larger networks and runs.

    Source: Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed Reinforcement Learning".

    Args:
        train_length: steps of a sequence that enter the loss.
        burn_in: steps before them that are replayed without loss.
        overlap: steps that a sequence shares with the next one.
        stored_state: replay from the stored state; False: from a zero state.
        sampler: draws sequences from the replay buffer; default: `PrioritizedSampler()`.
        exploration: epsilon of each row; default: `ApexEpsilon()`.
        capacity, gamma, normalize_reward, n_steps, priority_eta, experts, batch, horizon, gradient_steps, replay_batch,
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
        train_length: int = 80,
        burn_in: int = 40,
        overlap: int = 40,
        stored_state: bool = True,
        capacity: int = 2000,
        sampler: Sampler | None = None,
        exploration: EpsilonSchedule | None = None,
        gamma: float = 0.997,
        normalize_reward: bool = False,
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
            normalize_reward=normalize_reward,
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
