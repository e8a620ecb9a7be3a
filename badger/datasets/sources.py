"""Recorded episodes as tensors, and where a data set keeps them: in memory, or elsewhere.

Shapes: N episode, T step, P agent of the environment, O observation, A action.
"""

from functools import cached_property
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Episodes(NamedTuple):
    """Some recorded episodes as tensors, episode first, padded on the right.

    Rows of step t are the observation, the action chosen from it, and what came of the action. Steps from `length` on
    are padding: zeros and False throughout, but for `obs[length]`, the last observation of the episode, from which
    nothing was chosen.

    Args:
        obs: the observations, one more than there are steps.
        action: integers of choices, or real numbers, as `Task.step` takes them.
        reward: the rewards after the actions.
        terminated: as in `tasks.Step`, after the actions.
        truncated: as in `tasks.Step`, after the actions.
        length: the number of steps of each episode.
        action_mask: the actions that were allowed; None: all were, or it was not recorded.
        info: further values of each step by name, such as the task's scores.
    """

    obs: Float[Tensor, "N T1 *PO"]
    action: Tensor
    reward: Float[Tensor, "N T *P"]
    terminated: Bool[Tensor, "N T *P"]
    truncated: Bool[Tensor, "N T *P"]
    length: Int[Tensor, " N"]
    action_mask: Bool[Tensor, "N T *PA"] | None = None
    info: dict[str, Tensor] = {}  # noqa: RUF012  (never changed)

    @property
    def valid(self) -> Bool[Tensor, "N T"]:
        """The steps that are part of an episode, not padding."""
        return torch.arange(self.reward.shape[1], device=self.length.device) < self.length.unsqueeze(-1)

    @property
    def returns(self) -> Float[Tensor, "N *P"]:
        """The sum of the rewards of each episode, added in their order, so that padding does not change a bit of it."""
        total = self.reward.double().cumsum(1)[:, -1:].sum(1)
        return total.to(self.reward.dtype)


@runtime_checkable
class EpisodeSource(Protocol):
    """Where a data set's episodes are kept: tensors, or a file that is read by slices."""

    name: str
    """The file, or where else the episodes are, for messages."""
    length: Int[Tensor, " N"]
    """The number of steps of each episode."""

    @property
    def returns(self) -> Float[Tensor, "N *P"]:
        """The sum of the rewards of each episode."""

    def read(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Episodes:
        """The steps from `start` to `start + steps` of some episodes, padded where an episode ends before.

        Args:
            rows: the episodes, in order, possibly several times.
            start: the first step of each.
            steps: T of the result.
        """


class EpisodesInMemory:
    """Episodes as tensors.

    Args:
        episodes: all of them.
    """

    def __init__(self, episodes: Episodes):
        self.episodes, self.length, self.name = episodes, episodes.length, "the episodes in memory"

    @cached_property
    def returns(self) -> Float[Tensor, "N *P"]:
        """The sum of the rewards of each episode."""
        return self.episodes.returns

    def read(self, rows: Int[Tensor, " B"], start: Int[Tensor, " B"], steps: int) -> Episodes:
        """As in `EpisodeSource`.

        Args:
            rows: the episodes.
            start: the first step of each.
            steps: T of the result.
        """
        length = (self.length[rows] - start).clamp(0, steps)

        def piece(part: Tensor, size: int) -> Tensor:
            """(B, size, ...) of one field, zeros after the end of the episode."""
            offset = torch.arange(size)
            index = (start.unsqueeze(-1) + offset).clamp(max=part.shape[1] - 1)
            values = part[rows.unsqueeze(-1), index]
            inside = offset < (length + size - steps).unsqueeze(-1)
            return torch.where(inside.reshape(inside.shape + (1,) * (values.dim() - 2)), values, values.new_zeros(()))

        obs, action, reward, terminated, truncated, _, action_mask, info = self.episodes
        return Episodes(
            piece(obs, steps + 1),
            piece(action, steps),
            piece(reward, steps),
            piece(terminated, steps),
            piece(truncated, steps),
            length,
            None if action_mask is None else piece(action_mask, steps),
            {name: piece(values, steps) for name, values in info.items()},
        )


class MissingEpisodes(EpisodesInMemory):
    """One episode of zeros in place of a file that does not exist.

    With it the learner of a trained agent can be built again, so that the agent is judged without what it learned from.
    Nothing is to be learned from it.

    Args:
        path: of the file.
        episode: one episode of a task.
    """

    def __init__(self, path: str, episode: Episodes):
        super().__init__(episode)
        self.name = path
