"""The case of recurrent PPO: an update of ours against one of sb3-contrib, of equal sizes, both on one core."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch

from badger.bench import measure
from badger.bench.measure import Work, ready
from badger.bench.references.recurrent_ppo import PIP
from badger.bench.references.recurrent_ppo import recurrent_ppo as theirs
from badger.bench.result import Goal, Row
from badger.learners import PPO
from badger.recipes.settings import Setup
from badger.rng import generator
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import start
from experts import GRU
from tasks import CartPole

GOAL = Goal(">= 2x the steps/s", "ratio", least=2.0)


class Sizes(NamedTuple):
    """An update: `horizon` steps in each of `rows` worlds, lived through again `epochs` times in `minibatches`."""

    rows: int = 8
    horizon: int = 128
    epochs: int = 4
    minibatches: int = 4
    hidden_size: int = 64


def recurrent_ppo(device: torch.device, sizes: Sizes = Sizes(), repeats: int = 5) -> Iterator[Row]:  # noqa: B008
    """Steps of the world a second, rollout and learning together; always on the CPU, by one thread. Our steps that only
    open an episode do not count."""
    name = "recurrent-ppo/cart-pole"
    try:
        reference = theirs(**sizes._asdict())
    except ImportError:
        yield Row(name, "steps/s", goal=GOAL, note=f"not measured: wants sb3-contrib; {PIP}")
        return
    with one_thread():
        learner = ours(sizes)
        works: dict[str, Work] = {"ours": learner.update, "theirs": reference}
        seconds = measure.in_turn(
            {side: ready(work) for side, work in works.items()},
            repeats=repeats,
            clock=measure.wall(torch.device("cpu")),
        )
        steps = sizes.rows * sizes.horizon
        counted = steps * acting(learner)
    speeds = [counted / s for s in seconds["ours"]], [steps / s for s in seconds["theirs"]]
    yield Row(name, "steps/s", *speeds, "sb3-contrib's RecurrentPPO", GOAL)


def ours(sizes: Sizes) -> PPO:
    setup = Setup(experts=1, bus="silent", act="mean", identity_size=0, batch=sizes.rows, lr=1e-3, device="cpu")
    run = setup.run(
        CartPole(),
        lambda size: GRU(size, sizes.hidden_size),
        learner=PPO,
        horizon=sizes.horizon,
        epochs=sizes.epochs,
        minibatches=sizes.minibatches,
    )
    assert isinstance(run.learner, PPO)
    return run.learner


def acting(learner: PPO) -> float:
    """The share of steps in which the world takes an action."""
    with torch.no_grad():
        rng = generator(0, "bench")
        carry = start(learner.agent, learner.task, learner.batch, rng)
        frames, _ = rollout(learner.agent, learner.task, carry, rng, learner.sampled, steps=learner.horizon)
    return frames.acted.float().mean().item()


@contextmanager
def one_thread() -> Iterator[None]:
    """While it lasts."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
