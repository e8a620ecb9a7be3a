"""Checks of each step of recorded episodes, slice by slice; the first problem is named with episode and step.

Shapes: N episode, T step, P agent of the environment, A options of all choices.
"""

from collections.abc import Iterator

import torch
from torch import Tensor

from badger.datasets.sources import Episodes, EpisodeSource
from badger.errors import DamagedFile
from tasks import ActionSpace, Continuous, Discrete, Mixed

SLICE_STEPS = 2**16
"""Steps of all episodes that are read at once."""
WINDOW = 1024
"""Steps of one episode that are read at once."""


def slices(length: Tensor) -> Iterator[tuple[Tensor, Tensor, int]]:
    """Windows that cover all steps once, in order: episodes, first steps and size, of `SLICE_STEPS` steps at most.

    Args:
        length: (N,) of the episodes.
    """
    pieces = (length + WINDOW - 1) // WINDOW
    rows = torch.repeat_interleave(torch.arange(len(length)), pieces)
    number = torch.arange(len(rows)) - (pieces.cumsum(0) - pieces)[rows]  # of the window in its episode
    steps = int(length.max().clamp(max=WINDOW))
    for part, window in zip(*(values.split(SLICE_STEPS // steps) for values in (rows, number)), strict=True):
        yield part, window * WINDOW, steps


def check_steps(source: EpisodeSource, space: ActionSpace) -> None:
    """Checks each step of a source of episodes.

    Args:
        source: the episodes.
        space: the action space.

    Raises:
        DamagedFile: names the first episode and step with NaN, an infinity, a choice that the action space does not
            have or the action mask forbids, an end in the middle of the episode, or a last step without one.
    """
    for rows, start, steps in slices(source.length):
        check_windows(source, space, source.read(rows, start, steps), rows, start)


def check_windows(source: EpisodeSource, space: ActionSpace, windows: Episodes, rows: Tensor, start: Tensor) -> None:
    """Checks the steps of windows that were read from a source of episodes.

    Args:
        source: the episodes.
        space: the action space.
        windows: what was read.
        rows: (B,) the episode of each window.
        start: (B,) its first step.

    Raises:
        DamagedFile: as in `check_steps`.
    """
    last = source.length[rows] - start - 1  # the last step of the episode, where it is in the window
    found = [
        (*divmod(int(mask.long().argmax()), mask.shape[1]), text)
        for text, mask in _problems(windows, last, space)
        if mask.any()
    ]
    if found:
        row, step, text = min(found)
        place = f"episode {int(rows[row])}, step {int(start[row]) + step}"
        raise DamagedFile(f"{source.name} is damaged: {place}: {text}", place=place)


def _problems(episodes: Episodes, last: Tensor, space: ActionSpace) -> Iterator[tuple[str, Tensor]]:
    """A description of each kind of problem, and the steps (N, T) that have it."""
    valid, step = episodes.valid, torch.arange(episodes.reward.shape[1])
    observed = torch.arange(episodes.obs.shape[1]) <= episodes.length.unsqueeze(-1)
    yield "obs is NaN or infinite", _any(~episodes.obs.isfinite()) & observed
    yield "reward is NaN or infinite", _any(~episodes.reward.isfinite()) & valid
    if episodes.action.is_floating_point():
        yield "action is NaN or infinite", _any(~episodes.action.isfinite()) & valid
    ended = episodes.terminated | episodes.truncated
    ended = ended if ended.dim() == 2 else ended.all(-1)
    yield "the episode ends, and further steps follow", ended & valid & (step < last.unsqueeze(-1))
    text = "the episode has no further step, and is neither terminated nor truncated"
    yield text, ~ended & (step == last.unsqueeze(-1))
    if not isinstance(space, Continuous):
        wrong, forbidden = _wrong_choices(episodes.action, episodes.action_mask, space)
        yield f"action is not one of {space}", wrong & valid
        yield "action is forbidden by action_mask", forbidden & valid


def _wrong_choices(action: Tensor, action_mask: Tensor | None, space: ActionSpace) -> tuple[Tensor, Tensor]:
    """Steps (N, T) with a choice that the space does not have, and with one that the mask forbids.

    A mask that forbids all options of a choice allows all, as it does to a policy.
    """
    choices = space.choices if isinstance(space, Mixed) else space
    nvec = (choices.n,) if isinstance(choices, Discrete) else choices.nvec  # type: ignore[union-attr]
    chosen = action.unsqueeze(-1) if isinstance(choices, Discrete) else action[..., : len(nvec)]
    options = torch.tensor(nvec)
    wrong = (chosen < 0) | (chosen >= options) | (chosen != chosen.trunc() if chosen.is_floating_point() else False)
    if action_mask is None:
        return _any(wrong), torch.zeros_like(_any(wrong))
    parts = action_mask.split(list(nvec), -1)
    index = chosen.nan_to_num().long().clamp(min=0).minimum(options - 1)
    allowed = [part.gather(-1, index[..., i : i + 1]).squeeze(-1) | ~part.any(-1) for i, part in enumerate(parts)]
    return _any(wrong), _any(~torch.stack(allowed, -1))


def _any(mask: Tensor) -> Tensor:
    """(N, T, ...) -> (N, T)."""
    return mask.flatten(2).any(-1) if mask.dim() > 2 else mask
