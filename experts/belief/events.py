"""Observations and actions at the head of an input, and the error of an observation that a model excludes.

Shapes: B episode, N members, K kind of event.
"""

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor


class ImpossibleObservation(ValueError):
    """An observation whose probability is 0 given what was observed before: the model is not that of the world."""


def event_weights(x: Float[Tensor, "B N K"]) -> Float[Tensor, "B N K"]:
    """Weights |x| / sum |x|, which are x if it is one-hot; zeros, for no event, of zeros.

    Args:
        x: the numbers of an input that stand for actions or observations.
    """
    total = x.abs().sum(-1, keepdim=True)
    return x.abs() / total.where(total > 0, 1)


def check_input_size(input_size: int, *, actions: Sequence[str], observations: Sequence[str]) -> None:
    """Checks that an input has room for an observation and an action.

    Args:
        input_size: D.
        actions: their names.
        observations: their names.

    Raises:
        ValueError: the input is too small.
    """
    o, a = len(observations), len(actions)
    if input_size < o + a:
        raise ValueError(
            f"input_size={input_size}, want at least {o} observations + {a} actions = {o + a}, one-hot: the task "
            "in PreviousActionReward, and a sense that does not change it, such as broadcast"
        )
