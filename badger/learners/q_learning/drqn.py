"""DRQN: deep Q-learning with a recurrent network (Hausknecht and Stone 2015, arXiv:1507.06527)."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import Uniform
from badger.learners.q_learning.sequences import WHOLE, Cut
from badger.learners.q_learning.targets import PLAIN
from badger.learners.schedules import Decay, Exploration, LearningRate
from tasks import Task, Varied


def DRQN(
    agent: Agent,
    task: Task | Varied,
    *,
    train: int = WHOLE,
    overlap: int = 0,
    capacity: int = 2000,
    exploration: Exploration | None = None,
    gamma: float = 0.99,
    n: int = 1,
    double: bool = False,
    experts: int | None = None,
    batch: int = 16,
    horizon: int = 20,
    updates: int = 4,
    sequences: int = 32,
    prefill: int = 16,
    target_every: int = 100,
    measure_every: int | None = None,
    lr: LearningRate = 1e-3,
    auxiliary: dict[str, float] | None = None,
    clip: float | None = 10.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-8,
    weight_decay: float = 0.0,
    seed: int = 0,
    rank: int | None = None,
) -> RecurrentQ:
    """A `RecurrentQ` that replays whole episodes, or pieces of `train` steps, from an agent that knows nothing, each as
    often as any other; Q(a) comes to r + gamma max Q' in the units of the rewards.

    Pieces begin every train - overlap steps. exploration: None: `Decay()`. The rest as in
    `RecurrentQ`.
    """
    return RecurrentQ(
        agent,
        task,
        cut=Cut(train=train, burn_in=0, overlap=overlap, stored=False),
        capacity=capacity,
        draw=Uniform(),
        exploration=Decay() if exploration is None else exploration,
        gamma=gamma,
        n=n,
        double=double,
        scale=PLAIN,
        peak=0.9,
        experts=experts,
        batch=batch,
        horizon=horizon,
        updates=updates,
        sequences=sequences,
        prefill=prefill,
        target_every=target_every,
        measure_every=measure_every,
        lr=lr,
        auxiliary=auxiliary,
        clip=clip,
        betas=betas,
        eps=eps,
        weight_decay=weight_decay,
        seed=seed,
        rank=rank,
    )
