"""Small agents and tasks of variable length, shared by the tests."""

import inspect
import io
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Tensor

from badger import ACTS, BUSES, CORES, Agent, GuessingGame, Task, generator, sense
from badger.rng import drawing_from
from experts import random_seeds, with_random_seeds
from tasks import Continuous, Discrete, Step

HIDDEN, MESSAGE, IDENTITY = 6, 4, 3

HEADS = {name: head for name, head in ACTS.items() if name != "team"}  # of tasks with a single agent


OPTIONS = {name: set(inspect.signature(core).parameters) for name, core in CORES.items()}
OF_MODELS = tuple(name for name, options in OPTIONS.items() if options & {"model", "layout"})  # read no messages
FOR_ANY_TASK = [name for name, options in OPTIONS.items() if not options & {"model", "position", "layout", "obs_size"}]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def toy_agent(
    task=None, *, core="gru", bus="attention", port="mean", topology="complete", experts=4, comm_rounds=1, seed=0
) -> Agent:
    """An agent in float64 whose parts have those names; `core` may be a factory (input_size, hidden_size) -> Core."""
    task = task or game()
    with drawing_from(generator(seed, "toy")):
        ears = BUSES[bus](HIDDEN, MESSAGE)
        make = CORES[core] if isinstance(core, str) else core
        return Agent(
            sense=sense.Broadcast(task.obs_size),
            core=make(task.obs_size + ears.message_size + IDENTITY + ACTS[port].name_size, HIDDEN),
            bus=ears,
            act=ACTS[port](HIDDEN, task.action_space.size),
            topology=topology,
            experts=experts,
            identity_size=IDENTITY,
            comm_rounds=comm_rounds,
        ).double()


def with_seeds_of(core_state, other):
    """The state of a core, with the seeds of another one where it draws random numbers."""
    seeds = random_seeds(other)
    return core_state if seeds is None else with_random_seeds(core_state, seeds)


def game(steps=5, dims=2) -> GuessingGame:
    return GuessingGame(steps, dims, dtype=torch.float64)


def observations(steps=3, batch=3):
    return torch.randn(steps, batch, 1, generator=seeded(7), dtype=torch.float64)


def run(agent, state, obs=None, seed=0):
    """Outputs (T, B, D) and the last state, always with the same generator."""
    outputs, rng = [], seeded(seed)
    for now in observations() if obs is None else obs:
        output, state = agent(now, state, rng)
        outputs.append(output)
    return torch.stack(outputs), state


class WalkState(NamedTuple):
    place: Tensor  # (B,)
    length: Tensor  # (B,), of the episode
    cut: Tensor  # (B,), whether it will be truncated, not terminated
    t: Tensor  # (B,)


@dataclass(frozen=True)
class Walk(Task):
    """A walk on a line with a random length from 1 to `steps`; half of the episodes are truncated.

    The observation is [place, t]. The reward is minus the square of the place. Score: `length`, at the end.
    """

    steps: int = 4

    differentiable: ClassVar[bool] = True
    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "length"
    better: ClassVar[str] = "higher"

    @property
    def obs_size(self):
        return 2

    @property
    def action_space(self):
        return Continuous(1)

    def reset(self, batch, rng):
        place = torch.rand(batch, generator=rng, device=rng.device, dtype=self.dtype)
        length = torch.randint(1, self.steps + 1, (batch,), generator=rng, device=rng.device)
        cut = torch.rand(batch, generator=rng, device=rng.device) < 0.5
        state = WalkState(place, length, cut, torch.zeros_like(length))
        return state, self._make_step(state, torch.zeros_like(place))

    def step(self, state, action, rng):
        state = state._replace(place=state.place + action.squeeze(-1), t=state.t + 1)
        return state, self._make_step(state, -state.place.square())

    def _make_step(self, state, reward):
        over = state.t >= state.length
        length = torch.where(over, state.length.to(self.dtype), torch.nan)
        obs = torch.stack([state.place, state.t.to(self.dtype)], -1)
        return Step(obs, reward, over & ~state.cut, over & state.cut, {"length": length})

    def references(self):
        return {"length": {"mean": (1 + self.steps) / 2}}


class Steps(Walk):
    """A walk with discrete actions: left (masked where the place is below 0), stay or right; optimal at place 1."""

    differentiable = False

    @property
    def action_space(self):
        return Discrete(3)

    def step(self, state, action, rng):
        state = state._replace(place=state.place + 0.3 * (action - 1), t=state.t + 1)
        return state, self._make_step(state, -(state.place - 1).square())

    def _make_step(self, state, reward):
        mask = torch.ones(len(reward), 3, dtype=torch.bool, device=reward.device)
        mask[:, 0] = state.place >= 0
        return super()._make_step(state, reward)._replace(action_mask=mask)


class Crowd(Walk):
    """A walk with rewards and ends of 4 agents; the last agent ends a step later."""

    def _make_step(self, state, reward):
        one = super()._make_step(state, reward)
        late = state.t > state.length
        ends = [torch.stack([end, end, end, end & late], -1) for end in (one.terminated, one.truncated)]
        return one._replace(reward=one.reward.unsqueeze(-1).expand(-1, 4), terminated=ends[0], truncated=ends[1])


class HerdState(NamedTuple):
    place: Tensor  # (B, P)
    end: Tensor  # (B, P), the step at which an agent ends
    cut: Tensor  # (B, P), whether it will be truncated, not terminated
    t: Tensor  # (B,)


@dataclass(frozen=True)
class Herd(Task):
    """Several agents, each as in `Steps`, that terminate or are truncated at different steps; the last
    one comes a step later than the others.

    The observation of an agent is [its place, the mean place of all, t]. Score: `length`, at the end.
    """

    steps: int = 5
    agents: int = 3

    fixed_length: ClassVar[bool] = False
    score: ClassVar[str] = "length"
    better: ClassVar[str] = "higher"

    @property
    def obs_size(self):
        return 3

    @property
    def action_space(self):
        return Discrete(3)

    def birth(self, device):
        return (torch.arange(self.agents, device=device) == self.agents - 1).long()

    def reset(self, batch, rng):
        place = torch.rand(batch, self.agents, generator=rng, device=rng.device, dtype=self.dtype)
        end = torch.randint(2, self.steps + 1, (batch, self.agents), generator=rng, device=rng.device)
        cut = torch.rand(batch, self.agents, generator=rng, device=rng.device) < 0.5
        state = HerdState(place, end, cut, torch.zeros_like(end[:, 0]))
        return state, self._make_step(state, torch.zeros_like(place))

    def step(self, state, action, rng):
        t = state.t.unsqueeze(-1)
        acts = (self.birth(t.device) <= t) & (t < state.end)
        place = torch.where(acts, state.place + 0.3 * (action - 1), state.place)
        state = state._replace(place=place, t=state.t + 1)
        return state, self._make_step(state, torch.where(acts, -(place - 1).square(), 0))

    def _make_step(self, state, reward):
        t = state.t.unsqueeze(-1)
        over, cut = t >= state.end, state.cut
        present = (self.birth(t.device) <= t) & (~over | ((t == state.end) & cut))
        all_ = [state.place, state.place.mean(1, keepdim=True).expand_as(state.place), t.expand_as(state.place)]
        obs = torch.where(present.unsqueeze(-1), torch.stack(all_, -1), 0)
        length = torch.where(over.all(1), state.t.to(self.dtype), torch.nan)
        mask = torch.ones(*over.shape, 3, dtype=torch.bool, device=t.device)
        mask[..., 0] = state.place >= 0
        return Step(obs, reward, over & ~cut, over & cut, {"length": length}, present, mask)

    def references(self):
        return {"length": {"most": float(self.steps)}}


def png(figure):
    """The figure as PNG bytes."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    assert file.getvalue().startswith(b"\x89PNG")
    return file.getvalue()
