"""Benchmark of recurrent PPO: an update, compared with one of sb3-contrib of equal sizes, both on one core."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from badger.bench import measure
from badger.bench.measure import Work, no_setup
from badger.bench.references.recurrent_ppo import PIP, sb3_recurrent_ppo
from badger.bench.result import BenchResult, Goal
from badger.learners import PPO
from badger.recipes.parts import ACT, BUS, CORE, LEARNER
from badger.recipes.settings import Setup
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import initial_carry
from tasks import CartPole

GOAL = Goal(">= 4x the steps/s", "ratio", minimum=4.0)


class PPOSizes(NamedTuple):
    """Sizes of an update: `horizon` steps of `rows` environments, `epochs` epochs of `minibatches` minibatches."""

    rows: int = 8
    horizon: int = 128
    epochs: int = 4
    minibatches: int = 4
    hidden_size: int = 64


def recurrent_ppo_case(device: torch.device, sizes: PPOSizes = PPOSizes(), repeats: int = 5) -> Iterator[BenchResult]:  # noqa: B008
    """Environment steps per second of rollout and learning together, on the CPU with one thread.

    Steps of ours that only reset an episode are not counted.
    """
    name = "recurrent-ppo/cart-pole"
    try:
        reference = sb3_recurrent_ppo(**sizes._asdict())
    except ImportError:
        yield BenchResult(name, "steps/s", goal=GOAL, note=f"not measured: wants sb3-contrib; {PIP}")
        return
    with one_thread():
        learner = make_ppo(sizes)
        works: dict[str, Work] = {"ours": learner.update, "reference": reference}
        seconds = measure.time_interleaved(
            {side: no_setup(work) for side, work in works.items()},
            repeats=repeats,
            clock=measure.wall_clock(torch.device("cpu")),
        )
        steps = sizes.rows * sizes.horizon
        counted = steps * acting_fraction(learner)
    speeds = [counted / s for s in seconds["ours"]], [steps / s for s in seconds["reference"]]
    yield BenchResult(name, "steps/s", *speeds, "sb3-contrib's RecurrentPPO", GOAL)


def make_ppo(sizes: PPOSizes) -> PPO:
    """Our learner, on CartPole with a GRU."""
    learner = LEARNER("ppo", horizon=sizes.horizon, epochs=sizes.epochs, minibatches=sizes.minibatches)
    setup = Setup(
        core=CORE("gru", hidden_size=sizes.hidden_size),
        bus=BUS("silent"),
        act=ACT("mean"),
        learner=learner,
        experts=1,
        identity_size=0,
        batch=sizes.rows,
        lr=1e-3,
        device="cpu",
    )
    run = setup.make_run(CartPole())
    assert isinstance(run.learner, PPO)
    return run.learner


def acting_fraction(learner: PPO) -> float:
    """Fraction of rollout steps in which the environment takes an action: the others are resets."""
    with torch.no_grad():
        rng = generator(0, "bench")
        carry = initial_carry(learner.agent, learner.task, learner.batch, rng)
        trajectory, _ = rollout(learner.agent, learner.task, carry, rng, learner.rollout_policy, steps=learner.horizon)
    return trajectory.active.float().mean().item()


@contextmanager
def one_thread() -> Iterator[None]:
    """torch uses one thread within this context."""
    previous = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(previous)
