"""R2D2: recurrent replay, distributed or not (Kapturowski et al. 2019, "Recurrent Experience Replay in Distributed
Reinforcement Learning")."""

from badger.agent import Agent
from badger.learners.q_learning.recurrent_q import RecurrentQ
from badger.learners.q_learning.replay import Draw, Prioritised
from badger.learners.q_learning.sequences import Cut
from badger.learners.q_learning.targets import SQUASHED
from badger.learners.schedules import Exploration, Ladder, LearningRate
from tasks import Task, Varied


def R2D2(
    agent: Agent,
    task: Task | Varied,
    *,
    train: int = 80,
    burn_in: int = 40,
    overlap: int = 40,
    stored: bool = True,
    capacity: int = 2000,
    draw: Draw | None = None,
    exploration: Exploration | None = None,
    gamma: float = 0.997,
    n: int = 5,
    peak: float = 0.9,
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
    clip: float | None = 40.0,
    betas: tuple[float, float] = (0.9, 0.999),
    eps: float = 1e-3,
    weight_decay: float = 0.0,
    seed: int = 0,
    rank: int | None = None,
) -> RecurrentQ:
    """A `RecurrentQ` that replays prioritised sequences from what the agent knew when it was there (stored=False: from
    nothing), after a burn-in; Q(a) comes to h(n-step double Q), where h makes large returns small.

    draw: None: `Prioritised()`. exploration: None: `Ladder()`. The rest as in `RecurrentQ`. The sizes of the paper, but
    for those of its 256 actors and its replay of millions of steps; learning rate 1e-4 and target network every 2500
    steps there, for networks and runs that are larger by orders of magnitude.
    """
    return RecurrentQ(
        agent,
        task,
        cut=Cut(train=train, burn_in=burn_in, overlap=overlap, stored=stored),
        capacity=capacity,
        draw=Prioritised() if draw is None else draw,
        exploration=Ladder() if exploration is None else exploration,
        gamma=gamma,
        n=n,
        double=True,
        scale=SQUASHED,
        peak=peak,
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
