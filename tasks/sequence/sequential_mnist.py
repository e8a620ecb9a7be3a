"""Sequential MNIST: an image is read a few pixels a step, and named at the end. A finite task of long memory."""

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, NamedTuple

import numpy as np
import torch
from jaxtyping import Int
from torch import Tensor

from tasks.data.mnist import CLASSES, PIXELS, SPLITS, Split, load_split
from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct


class ImageState(NamedTuple):
    image: Int[Tensor, " B"]  # its number in the split
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class SequentialMNIST(Task):
    """Read 28 x 28 pixels row by row, 784 / steps of them a step, and say at the end which digit they were.

    Le, Jaitly & Hinton 2015, arXiv:1504.00941, pixel by pixel (steps=784), also with one fixed permutation of the
    pixels for all images. Observations are grey values from 0 to 1. Only the last answer counts: its log-probability
    where actions are logits (B, 10), 1 or 0 where they are integers (B,); the reward before is 0.

    The images of a batch are drawn without replacement, so that a batch of all is each image once; batches are
    independent of each other. A number from 0 to episodes - 1 is the image's place in its split.

    Scores, at the last step: `error` and `accuracy` (0 or 1), `cross_entropy` (in nats; NaN for integers).

    Nothing is looked for or read before the first episode, so that a task may be made, compared and named where there
    is no data. Then the split is read once in a process, and lies whole, as bytes, on each device that plays it.

    Args:
        steps: in which an image is read, a divisor of 784: 112 are 7 pixels a step.
        data_dir: folder with the four files of MNIST, or with others of the same names and form (Fashion-MNIST).
            None: $BADGER_DATA or its subfolder `mnist`; where they are not there, they are fetched once.
        split: "train", all training images but the last sixth (50,000 of MNIST); "validation", that sixth (10,000);
            "train+validation"; "test", the files of the test set (10,000).
        permuted: whether pixels come in an order drawn from `seed`, and not row by row.
    """

    steps: int = 112
    data_dir: str | Path | None = field(default=None, kw_only=True)
    split: str = field(default="train", kw_only=True)
    permuted: bool = field(default=False, kw_only=True)
    seed: int = field(default=0, kw_only=True)

    differentiable: ClassVar[bool] = True
    open_loop: ClassVar[bool] = True
    score: ClassVar[str] = "error"
    better: ClassVar[str] = "lower"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps)
        if PIXELS % self.steps:
            near = max(n for n in range(1, self.steps) if PIXELS % n == 0)
            raise ValueError(f"steps={self.steps}, want a divisor of {PIXELS} pixels, such as {near}")
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}, want one of: {', '.join(SPLITS)}")

    @property
    def evaluation_task(self) -> "SequentialMNIST":
        """Validation images; of an agent that was trained on those, too, the test's."""
        return replace(self, split={"train": "validation", "train+validation": "test"}.get(self.split, self.split))

    @property
    def obs_size(self) -> int:
        return PIXELS // self.steps

    @property
    def action_space(self) -> Discrete:
        return Discrete(CLASSES)

    @property
    def num_episodes(self) -> int:
        return len(self._images(torch.device("cpu")).labels)

    def _images(self, device: torch.device) -> Split:
        return load_split(self.data_dir, self.split, device)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[ImageState, Step]:
        if batch > self.num_episodes:
            raise ValueError(f"batch={batch}, want at most the {self.num_episodes} images of split={self.split!r}")
        return self._initial_step(torch.randperm(self.num_episodes, generator=rng, device=rng.device)[:batch])

    def reset_to(self, index: Int[Tensor, " B"], rng: torch.Generator) -> tuple[ImageState, Step]:
        if index.device.type == "cpu" and bool(((index < 0) | (index >= self.num_episodes)).any()):
            lowest, highest = index.min().item(), index.max().item()
            raise IndexError(f"index from {lowest} to {highest}, want numbers from 0 to {self.num_episodes - 1}")
        return self._initial_step(index)

    def _initial_step(self, index: Tensor) -> tuple[ImageState, Step]:
        state = ImageState(index, torch.zeros_like(index))
        nothing = torch.zeros(len(index), dtype=self.dtype, device=index.device)
        unknown = torch.full_like(nothing, torch.nan)
        return state, self._make_step(state, nothing, unknown, unknown)

    def step(self, state: ImageState, action: Tensor, rng: torch.Generator) -> tuple[ImageState, Step]:
        wanted = self._images(state.image.device).labels[state.image]
        given, right = reward_and_correct(action, wanted, self.dtype)
        surprise = -given.detach() if action.is_floating_point() else torch.full_like(right, torch.nan)
        state = ImageState(state.image, state.t + 1)
        return state, self._make_step(state, given, right, surprise)

    def _make_step(self, state: ImageState, reward: Tensor, right: Tensor, surprise: Tensor) -> Step:
        last, device = state.t >= self.steps, state.image.device
        order = _order(self.steps, self.seed if self.permuted else None, device)
        places = order[state.t.clamp(max=self.steps - 1)]  # (B, O)
        obs = self._images(device).pixels[state.image.unsqueeze(-1), places].to(self.dtype) / 255
        scores = {"accuracy": right, "error": 1 - right, "cross_entropy": surprise}
        scores = {name: torch.where(last, score, torch.nan) for name, score in scores.items()}
        return Step(obs, torch.where(last, reward, 0), last, torch.zeros_like(last), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Chance; and the best that can be said without looking, from how often each digit is in this split."""
        often = self._images(torch.device("cpu")).labels.bincount(minlength=CLASSES).double() / self.num_episodes
        chance, most = 1 / CLASSES, often.max().item()
        return {
            "error": {"chance": 1 - chance, "commonest digit": 1 - most},
            "accuracy": {"chance": chance, "commonest digit": most},
            "cross_entropy": {
                "chance": math.log(CLASSES),
                "frequencies of digits": torch.special.entr(often).sum().item(),
            },
        }


@lru_cache(maxsize=16)
def _order(steps: int, seed: int | None, device: torch.device) -> Tensor:
    """Which pixels are read in each step, (T, O). RandomState, for its stream is the same in all versions of numpy."""
    order = np.arange(PIXELS) if seed is None else np.random.RandomState(seed).permutation(PIXELS)
    return torch.tensor(order, device=device).view(steps, -1)
