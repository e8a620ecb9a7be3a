"""Every registered task passes the contract, and the contract detects broken tasks."""

from dataclasses import dataclass
from functools import cache, partial
from typing import ClassVar

import pytest
import torch

from badger.testing import TASK_PROPERTIES, ContractError, check_task
from tasks import TASKS, BAbI, CartPole, GuessingGame, SequentialMNIST, Task, TMazeLong
from toys import Herd, Walk

QUICK = {  # episodes that are not long; all of the tests' own questions
    "babi": partial(BAbI, 52, (1, 8)), "sequential_mnist": partial(SequentialMNIST, 14),
    "cart_pole": partial(CartPole, 40), "t_maze_long": partial(TMazeLong, 8, True),
    "t_maze_long_range": partial(TMazeLong, (3, 8), True),
}  # fmt: skip
MAKE = TASKS | {"walk": Walk, "herd": Herd} | QUICK


@cache
def made(name: str) -> Task:
    """A task is frozen, so that one serves all properties."""
    return MAKE[name](dtype=torch.float64)


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("holds", TASK_PROPERTIES)
def test_every_task_keeps_the_contract(name, holds):
    TASK_PROPERTIES[holds](made(name))


def test_the_contract_accepts_a_correct_task():
    check_task(Walk)


@dataclass(frozen=True)
class Coin(Walk):
    """A walk from one of two places: episodes of two generators are equal by chance, of 4 rows one time in 16."""

    def reset(self, batch, rng):
        state, _ = super().reset(batch, rng)
        place = state.place.round()
        fixed = state._replace(place=place, length=torch.full_like(state.length, self.steps), cut=state.cut & False)
        return fixed, self._make_step(fixed, torch.zeros_like(place))


@dataclass(frozen=True)
class Always(GuessingGame):
    """Asks for the same in every episode, and draws nothing."""

    def reset(self, batch, rng):
        return super().reset(batch, torch.Generator().manual_seed(0))


@pytest.mark.parametrize("task", [Coin, Always])
def test_episodes_that_two_generators_agree_in_are_no_broken_contract(task):
    check_task(task, properties=["other_generators_give_other_episodes"])


@dataclass(frozen=True)
class Global(GuessingGame):
    """Draws from torch's default generator."""

    def reset(self, batch, rng):
        return super().reset(batch, torch.default_generator)


@dataclass(frozen=True)
class Wasteful(GuessingGame):
    """Draws from its generator, and makes nothing of it."""

    def reset(self, batch, rng):
        torch.rand(1, generator=rng)
        return super().reset(batch, torch.Generator().manual_seed(0))


@dataclass(frozen=True)
class Leaks(GuessingGame):
    """Every episode is paid the mean of all."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(reward=step.reward.mean().expand_as(step.reward))


@dataclass(frozen=True)
class Endless(GuessingGame):
    """Never ends."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(truncated=step.truncated & False, terminated=step.terminated & False)


@dataclass(frozen=True)
class Mute(GuessingGame):
    """Observes nan."""

    def step(self, state, action, rng):
        state, step = super().step(state, action, rng)
        return state, step._replace(obs=step.obs * torch.nan)


@dataclass(frozen=True)
class ReadsAction(GuessingGame):
    """Waits for the action at each step."""

    def step(self, state, action, rng):
        return super().step(state, action.clamp(max=action.max().item() + 1), rng)


@dataclass(frozen=True)
class OnHost(ReadsAction):
    """The same, declared as an external environment."""

    external: ClassVar[bool] = True


@dataclass(frozen=True)
class Numbered(GuessingGame):
    """Has one episode for each number, which it reads."""

    num_episodes: ClassVar[int] = 3

    def reset_to(self, index, rng):
        if index.max() >= 3:
            raise ValueError(f"index {index.max()}, want at most 2")
        return self.reset(len(index), rng)


def test_external_environments_are_exempt_from_the_meta_device():
    check_task(OnHost, properties=["episodes_run_on_the_meta_device"])


@pytest.mark.parametrize(
    ("task", "holds"),
    [
        (Global, "the_same_generator_gives_the_same_episode"),
        (Wasteful, "other_generators_give_other_episodes"),
        (Leaks, "rows_do_not_leak"),
        (Endless, "episodes_end_in_time"),
        (Mute, "observations_and_rewards_are_finite"),
        (ReadsAction, "episodes_run_on_the_meta_device"),
        (Numbered, "chosen_and_previewed_episodes_run_on_the_meta_device"),
    ],
)
def test_the_contract_catches_a_broken_task(task, holds):
    with pytest.raises(ContractError, match=rf"(?s)^{holds}: want .*, got "):
        check_task(task, properties=[holds])
