"""The return that an agent is still asked for, as a part of a core's state.

Shapes: T step, B episode, N members.
"""

from collections.abc import Iterator
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts.state import State


class ReturnToGo(NamedTuple):
    """What is asked for before the next input is read.

    Args:
        asked: the return from the last step on; the last reward, which the next input has, is still in it.
        time: number of the next step in the episode.
    """

    asked: Float[Tensor, "*B"]
    time: Int[Tensor, "*B"]

    def advance(
        self, reward: Float[Tensor, "T *B"], target: Tensor, reset: Bool[Tensor, "T B"] | None = None
    ) -> tuple[Float[Tensor, "T *B"], Int[Tensor, "T *B"], "ReturnToGo"]:
        """The return-to-go and the number of each step, and what is asked for after them.

        The return-to-go of step t is that before less the last reward, g_t = g_{t-1} - r_{t-1}, so that it still has
        r_t in it. At the start of an episode it is the target; the reward there is 0.

        Args:
            reward: the last reward of each step.
            target: the return that new episodes are asked for, ().
            reset: episodes that begin at a step; None: none.
        """
        paid = reward.cumsum(0)
        steps = torch.arange(len(reward), device=reward.device).view(-1, *[1] * self.time.dim())
        asked, time = self.asked - paid, self.time + steps
        if reset is not None:
            began = torch.where(reset.view(*reset.shape, *[1] * (self.time.dim() - 1)), steps, -1).cummax(0).values
            began = began.expand(time.shape)
            before = (paid - reward).gather(0, began.clamp(min=0))
            asked = torch.where(began < 0, asked, target.to(asked.dtype) - (paid - before))
            time = torch.where(began < 0, time, steps - began)
        return asked, time, ReturnToGo(asked[-1], time[-1] + 1)


def with_return_to_go(state: State, asked: Float[Tensor, " B"], time: Int[Tensor, " B"]) -> State:
    """The state of a core at some step of an episode of which it has seen nothing.

    Args:
        state: at the start of an episode.
        asked: the return from that step on.
        time: the number of the step.

    Raises:
        ValueError: the state of a core that is not asked for a return.
    """
    found = list(_find(state))
    if not found:
        raise ValueError(
            "the core is not asked for a return: want core decision_transformer (--core decision_transformer)"
        )
    return _replace(state, asked, time)


def set_target_return(module: nn.Module, value: float) -> None:
    """Sets the return that an agent is asked for at the start of new episodes.

    Args:
        module: an agent, or a core; each buffer of it with the name `target_return` is changed.
        value: the return.

    Raises:
        ValueError: there is no such buffer.
    """
    found = _targets(module)
    if not found:
        raise ValueError(
            f"target_return={value}: the agent is not asked for a return; want one with a core such as "
            "decision_transformer"
        )
    for target in found:
        target.fill_(value)


def target_return(module: nn.Module) -> float | None:
    """The return that an agent is asked for at the start of new episodes; None of one that is not.

    Args:
        module: an agent, or a core.
    """
    found = _targets(module)
    return float(found[0]) if found else None


def _targets(module: nn.Module) -> list[Tensor]:
    return [buffer for name, buffer in module.named_buffers() if name.split(".")[-1] == "target_return"]


def _find(state: State) -> Iterator[ReturnToGo]:
    if isinstance(state, ReturnToGo):
        yield state
    elif isinstance(state, tuple):
        for part in state:
            yield from _find(part)


def _replace(state: State, asked: Tensor, time: Tensor) -> State:
    if isinstance(state, ReturnToGo):
        members = [1] * (state.time.dim() - 1)
        new = (
            part.to(old).view(-1, *members).expand(old.shape) for part, old in zip((asked, time), state, strict=True)
        )
        return ReturnToGo(*new)
    if isinstance(state, tuple):
        parts = [_replace(part, asked, time) for part in state]
        return type(state)(*parts) if hasattr(state, "_fields") else tuple(parts)
    return state
