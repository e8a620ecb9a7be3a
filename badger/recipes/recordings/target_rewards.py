"""The rewards that an agent is asked for, as the command line has them: 30x0.6 30x-0.6."""

import math

import torch
from jaxtyping import Float
from torch import Tensor

MOST_REWARDS = 1_000_000


def parse_rewards(words: tuple[str, ...]) -> Float[Tensor, " L"]:
    """The rewards of an episode, in order.

    Args:
        words: each a reward, or how often it is asked for and the reward: 30x0.6 is 0.6 in 30 steps.

    Raises:
        ValueError: a word that is neither, or none.
    """
    rewards: list[float] = []
    for word in words:
        count, times, reward = word.rpartition("x")
        try:
            number, value = int(count) if times else 1, float(reward)
        except ValueError:
            number, value = 0, math.nan
        if number < 1 or not math.isfinite(value) or len(rewards) + number > MOST_REWARDS:
            raise ValueError(
                f"target_rewards={word}, want rewards of an episode, or how often and which: 30x0.6 is 0.6 in 30 steps"
            )
        rewards += [value] * number
    return torch.tensor(rewards)
