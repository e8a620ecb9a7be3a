"""Sequential MNIST, pixel by pixel or in chunks, optionally permuted: classify an image after its last pixel."""

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
    """State of sequential MNIST.

    Args:
        image: the index of the image in its split.
        t: the number of actions taken.
    """

    image: Int[Tensor, " B"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class SequentialMNIST(Task):
    """Sequential MNIST: observes 784 / steps pixels per step, row by row, and classifies the digit at the last step.

    Le, Jaitly & Hinton 2015, arXiv:1504.00941, pixel by pixel (steps=784); permuted MNIST has one fixed permutation of
    the pixels for all images. Observations are gray values from 0 to 1. Only the last answer counts: the reward is its
    log-probability for logits (B, 10), 1 or 0 for integers (B,); earlier rewards are 0.

    The images of a batch are sampled without replacement; batches are independent. The number of an episode, from 0 to
    num_episodes - 1, is the index of the image in its split.

    Scores, at the last step: `error` and `accuracy` (0 or 1), `cross_entropy` (in nats; NaN for integers).

    Files are not read before the first episode, so that the task can be constructed without data. The split is then
    read once per process and kept as bytes on each device in use.

    Args:
        steps: the number of steps per image, a divisor of 784: 112 gives 7 pixels per step.
        data_dir: a folder with the four files of MNIST, or with others of the same names and format (Fashion-MNIST).
            None: $BADGER_DATA or its subfolder `mnist`; if there are no files, they are downloaded once.
        split: "train", all training images but the last sixth (50,000 of MNIST); "validation", that sixth (10,000);
            "train+validation"; "test", the files of the test set (10,000).
        permuted: whether the pixels are permuted.
        seed: the seed of the permutation.

    Raises:
        ValueError: `steps` that do not divide 784, or an unknown `split`.
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
            divisor = max(n for n in range(1, self.steps) if PIXELS % n == 0)
            raise ValueError(f"steps={self.steps}, want a divisor of {PIXELS} pixels, such as {divisor}")
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}, want one of: {', '.join(SPLITS)}")

    @property
    def evaluation_task(self) -> "SequentialMNIST":
        """The validation split for "train"; the test split for "train+validation"."""
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
        """Samples images without replacement.

        Args:
            batch: the number of images B.
            rng: the random generator; the episodes are on its device.

        Raises:
            ValueError: `batch` exceeds the number of images of the split.
        """
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
        zeros = torch.zeros(len(index), dtype=self.dtype, device=index.device)
        nan_score = torch.full_like(zeros, torch.nan)
        return state, self._make_step(state, zeros, nan_score, nan_score)

    def step(self, state: ImageState, action: Tensor, rng: torch.Generator) -> tuple[ImageState, Step]:
        label = self._images(state.image.device).labels[state.image]
        reward, correct = reward_and_correct(action, label, self.dtype)
        cross_entropy = -reward.detach() if action.is_floating_point() else torch.full_like(correct, torch.nan)
        state = ImageState(state.image, state.t + 1)
        return state, self._make_step(state, reward, correct, cross_entropy)

    def _make_step(self, state: ImageState, reward: Tensor, correct: Tensor, cross_entropy: Tensor) -> Step:
        done, device = state.t >= self.steps, state.image.device
        order = _pixel_order(self.steps, self.seed if self.permuted else None, device)
        pixels = order[state.t.clamp(max=self.steps - 1)]  # (B, O)
        obs = self._images(device).pixels[state.image.unsqueeze(-1), pixels].to(self.dtype) / 255
        scores = {"accuracy": correct, "error": 1 - correct, "cross_entropy": cross_entropy}
        scores = {name: torch.where(done, score, torch.nan) for name, score in scores.items()}
        return Step(obs, torch.where(done, reward, 0), done, torch.zeros_like(done), scores)

    def references(self) -> dict[str, dict[str, float]]:
        """Chance level, and the best input-independent answers, from the label frequencies of the split."""
        frequency = self._images(torch.device("cpu")).labels.bincount(minlength=CLASSES).double() / self.num_episodes
        chance, majority = 1 / CLASSES, frequency.max().item()
        return {
            "error": {"chance": 1 - chance, "commonest digit": 1 - majority},
            "accuracy": {"chance": chance, "commonest digit": majority},
            "cross_entropy": {
                "chance": math.log(CLASSES),
                "frequencies of digits": torch.special.entr(frequency).sum().item(),
            },
        }


@lru_cache(maxsize=16)
def _pixel_order(steps: int, seed: int | None, device: torch.device) -> Tensor:
    """Indices of the pixels of each step, (T, O), by RandomState, whose stream is the same in all versions of numpy."""
    order = np.arange(PIXELS) if seed is None else np.random.RandomState(seed).permutation(PIXELS)
    return torch.tensor(order, device=device).view(steps, -1)
