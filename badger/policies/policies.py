"""From what an agent puts out to an action: how it is drawn, and how likely it was.

The first numbers of an output are the logits of one of a number of choices; one more may follow, the value
(`badger.act.WithCritic`). `Discrete` and `MultiDiscrete` alike: the choices of the latter are independent, given the
output. Real numbers, `Continuous`, are those of `badger.policies.gaussian`.

Shapes: ... any leading axes (T step, B episode, P agent of the world), A logits of all choices side by side.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.policies import gaussian
from tasks import ActionSpace, Continuous, Discrete, MultiDiscrete

DiscreteActionSpace = Discrete | MultiDiscrete
Policy = Callable[[Tensor, Tensor | None, torch.Generator], Tensor]  # (output, legal, rng) -> action


def identity_policy(output: Tensor, legal: Tensor | None, rng: torch.Generator) -> Tensor:
    """The agent's output is the action: a guess, or the logits of a differentiable discrete task."""
    return output


@dataclass(frozen=True)
class Sampled:
    """Each choice with its probability: the logits' softmax over what is legal. Real numbers from their normal
    distribution."""

    space: ActionSpace

    def __call__(self, output: Tensor, legal: Tensor | None, rng: torch.Generator) -> Tensor:
        if isinstance(self.space, Continuous):
            return gaussian.sample(output, self.space, rng)

        # of independent exponential waits at rates p, the shortest is that of choice i with probability p_i; where
        # a number is not finite it still chooses something, and never waits for the device
        def draw(logs: Tensor) -> Tensor:
            waits = torch.empty_like(logs).exponential_(generator=rng).clamp(min=torch.finfo(logs.dtype).tiny)
            return (logs - waits.log()).argmax(-1)

        return _select(draw, output, self.space, legal)


@dataclass(frozen=True)
class Greedy:
    """The most likely of what is legal; of several the first. The mean of real numbers."""

    space: ActionSpace

    def __call__(self, output: Tensor, legal: Tensor | None, rng: torch.Generator) -> Tensor:
        if isinstance(self.space, Continuous):
            return gaussian.mode(output, self.space)
        return _select(lambda logs: logs.argmax(-1), output, self.space, legal)


@dataclass(frozen=True)
class EpsilonGreedy:
    """What has the largest value of what is legal; but with probability epsilon, any that is legal.

    epsilon: of all rows, or of each (B,), on the device of what is decided; `LinearEpsilon` and `ApexEpsilon` of
    `badger.learners.schedules` say how large.

    Raises:
        ValueError: actions that are not one choice; an epsilon that is no probability.
    """

    space: ActionSpace
    epsilon: float | Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.space, Discrete):
            raise ValueError(f"actions are {self.space}, want tasks.Discrete: each choice has a value of its own")
        if isinstance(self.epsilon, float | int) and not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon={self.epsilon}, want a probability, 0 to 1")

    def __call__(self, output: Tensor, legal: Tensor | None, rng: torch.Generator) -> Tensor:
        def draw(logs: Tensor) -> Tensor:
            any_of_them = torch.rand(logs.shape, generator=rng, device=rng.device, dtype=logs.dtype)
            if legal is not None:
                any_of_them = torch.where(legal, any_of_them, any_of_them - 1)
            explores = torch.rand(logs.shape[:-1], generator=rng, device=rng.device) < self.epsilon
            return torch.where(explores, any_of_them.argmax(-1), logs.argmax(-1))

        assert isinstance(self.space, Discrete)
        return _select(draw, output, self.space, legal)


POLICIES: dict[str, Callable[[ActionSpace], Policy]] = {"sampled": Sampled, "greedy": Greedy}
"""Policies by name, each Action -> Policy."""


def log_probability(
    output: Float[Tensor, "*B D"], action: Tensor, space: ActionSpace, legal: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """Of what was chosen: integers (...) of a Discrete, (..., choices) of a MultiDiscrete, real numbers (..., size) of
    a Continuous."""
    if isinstance(space, Continuous):
        return gaussian.log_probability(output, action, space)
    each = action.unsqueeze(-1) if isinstance(space, Discrete) else action
    logs = _log_probs(output, space, legal)
    return _total(part.gather(-1, each[..., i : i + 1]).squeeze(-1) for i, part in enumerate(logs))


def entropy(
    output: Float[Tensor, "*B D"], action: ActionSpace, legal: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """In nats."""
    if isinstance(action, Continuous):
        return gaussian.entropy(output, action)
    return _total(-(part.exp() * part).sum(-1) for part in _log_probs(output, action, legal))


def simpson(
    output: Float[Tensor, "*B D"], action: ActionSpace, legal: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """The chance that two draws agree, sum_a pi(a)^2 (Simpson 1949): 1 of a policy that is sure; summed over choices.

    A penalty on it keeps a policy from being sure too early, as Miconi et al. 2018 (arXiv:1804.02464) do in mazes.
    """
    if isinstance(action, Continuous):
        return gaussian.simpson(output, action)
    return _total(part.exp().square().sum(-1) for part in _log_probs(output, action, legal))


def _select(
    pick: Callable[[Tensor], Tensor], output: Tensor, action: DiscreteActionSpace, legal: Tensor | None
) -> Tensor:
    with torch.no_grad():
        each = [pick(part) for part in _log_probs(output, action, legal)]
    return each[0] if isinstance(action, Discrete) else torch.stack(each, -1)


def _log_probs(output: Tensor, action: DiscreteActionSpace, legal: Tensor | None) -> list[Tensor]:
    """Log-probabilities of each choice, (..., n) each. What is not legal has a very low one, not -inf, of which
    entropies and gradients would not be numbers; where nothing is legal, all is."""
    if output.shape[-1] not in (action.size, action.size + 1):
        raise ValueError(
            f"an output of {output.shape[-1]} numbers, want the {action.size} logits of {action}, and one more where "
            "there is a value; make the policy for the action of the task that is played"
        )
    logits = output[..., : action.size]
    if legal is not None:
        logits = logits.masked_fill(~legal, torch.finfo(logits.dtype).min)
    parts = [logits] if isinstance(action, Discrete) else logits.split(list(action.nvec), -1)
    return [part.log_softmax(-1) for part in parts]


def _total(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)
