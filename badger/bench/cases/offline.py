"""Benchmark of learning from recorded episodes: a Decision Transformer, trained and acting, beside a plain one."""

import time
from collections.abc import Callable, Iterator
from typing import NamedTuple

import torch

from badger import act
from badger.agent import Agent
from badger.bench import measure
from badger.bench.measure import no_setup
from badger.bench.references.plain_decision_transformer import (
    PlainDecisionTransformer,
    PlainTraining,
    act_by_encoding_anew,
)
from badger.bench.result import BenchResult, min_ratio, min_speedup
from badger.datasets import EpisodeDataset, Episodes
from badger.learners import DecisionTransformerLearner
from badger.rng import drawing_from, seeded_generator
from badger.sense import Broadcast
from comms import Silent
from experts import DecisionTransformer, StepLayout
from tasks import CartWorld, PreviousActionReward

STATE, ACTIONS = 2, 3  # of a `CartWorld`


class OfflineSizes(NamedTuple):
    """Sizes of the benchmark.

    Args:
        width: of the transformer.
        layers: of it.
        context: steps of a window in training.
        batch: windows of an update.
        updates: in a round.
        episodes: of the data.
        steps: of each.
        acting: steps of an episode in which the agent acts, all of them in its window.
        rows: episodes in which it acts.
    """

    width: int = 128
    layers: int = 3
    context: int = 20
    batch: int = 64
    updates: int = 4
    episodes: int = 1000
    steps: int = 60
    acting: int = 256
    rows: int = 4


SIZES = OfflineSizes()


def offline(device: torch.device, sizes: OfflineSizes = SIZES, repeats: int = 7) -> Iterator[BenchResult]:
    """A Decision Transformer beside a plain one of the same size, with the same attention of torch.

    Training is in recorded steps a second, whole updates with the reading of data and the optimizer's step. Acting is
    the time of an episode that fits into the context, with keys and values kept, beside the encoding of all steps so
    far at each step. The time is that of the processor on the CPU.
    """
    clock: Callable[[], float] = measure.wall_clock(device) if device.type == "cuda" else time.process_time
    yield _training(sizes, repeats, clock)
    yield _acting(sizes, repeats, clock)


def _training(sizes: OfflineSizes, repeats: int, clock: Callable[[], float]) -> BenchResult:
    rng = seeded_generator(0)
    lead = sizes.episodes, sizes.steps
    end = (torch.arange(sizes.steps) == sizes.steps - 1).expand(lead)
    length, reward = torch.full(lead[:1], sizes.steps), torch.randn(lead, generator=rng)
    obs = torch.randn(sizes.episodes, sizes.steps + 1, STATE, generator=rng)
    episodes = Episodes(obs, torch.randint(ACTIONS, lead, generator=rng), reward, end, end & False, length)
    task = PreviousActionReward(CartWorld(sizes.steps))
    with drawing_from(rng):
        core = _core(sizes, sizes.context, sizes.steps)
        head = act.Mean(sizes.width, ACTIONS)
        plain = _plain(sizes, sizes.steps)
    agent = Agent(
        sense=Broadcast(task.obs_size), core=core, bus=Silent(sizes.width), act=head, experts=1, identity_size=0
    )
    data = EpisodeDataset.from_episodes(episodes, task.action_space)
    learner = DecisionTransformerLearner(agent, task, data=data, batch=sizes.batch)
    reference = PlainTraining(plain, episodes, sizes.context, sizes.batch)

    def several(update: Callable[[], object]) -> Callable[[], None]:
        def work() -> None:
            for _ in range(sizes.updates):
                update()

        return work

    sides = {"ours": no_setup(several(learner.update)), "plain": no_setup(several(reference.update))}
    seconds = measure.time_interleaved(sides, repeats=repeats, clock=clock)
    steps = sizes.updates * sizes.batch * sizes.context
    ours, plain_rates = ([steps / spent for spent in seconds[name]] for name in ("ours", "plain"))
    return BenchResult("offline/training", "steps/s", ours, plain_rates, "plain", min_ratio(0.95))


def _acting(sizes: OfflineSizes, repeats: int, clock: Callable[[], float]) -> BenchResult:
    rng = seeded_generator(1)
    with drawing_from(rng):
        core, plain = _core(sizes, sizes.acting, sizes.acting), _plain(sizes, sizes.acting)
    xs = torch.zeros(sizes.acting, sizes.rows, 1, core.input_size)
    xs[..., :STATE] = torch.randn(sizes.acting, sizes.rows, 1, STATE, generator=rng)

    @torch.no_grad()
    def ours() -> object:
        state = core.initial_state(xs[0])
        for x in xs:
            _, state = core(x, state)
        return state

    def reference() -> object:
        return act_by_encoding_anew(plain, xs[:, :, 0, :STATE])

    sides = {"ours": no_setup(ours), "plain": no_setup(reference)}
    seconds = measure.time_interleaved(sides, repeats=min(repeats, 3), clock=clock)
    label = f"offline/acting/context-{sizes.acting}"
    return BenchResult(label, "s", seconds["ours"], seconds["plain"], "encoding anew", min_speedup(5, "faster"))


def _core(sizes: OfflineSizes, context: int, max_time: int) -> DecisionTransformer:
    return DecisionTransformer(
        STATE + ACTIONS + 2, sizes.width, layout=StepLayout(STATE, (ACTIONS,)), context=context, layers=sizes.layers,
        max_time=max_time,
    )  # fmt: skip


def _plain(sizes: OfflineSizes, max_time: int) -> PlainDecisionTransformer:
    return PlainDecisionTransformer(STATE, ACTIONS, sizes.width, sizes.layers, heads=1, max_time=max_time)
