"""Policies: from an agent's output to an action, with log-probabilities and entropies.

The first numbers of an output are the logits of a discrete action; one more may follow, the value
(`badger.act.WithCritic`). The choices of a `MultiDiscrete` are independent given the output. Continuous actions are
those of `badger.policies.gaussian`; choices beside real numbers those of `badger.policies.mixed`.

Shapes: ... any leading axes (T step, B episode, P agent of the environment), A logits of all choices, concatenated.
"""

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from badger.policies import gaussian, mixed
from experts.state import State
from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete

DiscreteActionSpace = Discrete | MultiDiscrete
"""Action spaces with logits."""
Policy = Callable[[Tensor, Tensor | None, State, torch.Generator], tuple[Tensor, State]]
"""A policy: (output, action_mask, state, rng) -> (action, state).

The state is `()` for most. A policy with another one has a method `initial_state(like, rng)`, as
`badger.policies.correlated.CorrelatedGaussian` has.
"""


def identity_policy(
    output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
) -> tuple[Tensor, State]:
    """The agent's output as the action: a guess, or the logits of a differentiable discrete task.

    Args:
        output: of the agent.
        action_mask: not used.
        state: not used.
        rng: not used.
    """
    return output, state


def initial_policy_state(policy: Policy, like: Float[Tensor, "B *P"], rng: torch.Generator) -> State:
    """The state of a policy at the start of episodes; `()` of a policy without one.

    Args:
        policy: any policy.
        like: gives batch, agents, device and dtype.
        rng: the generator of a random state.
    """
    make = getattr(policy, "initial_state", None)
    return () if make is None else make(like, rng)


@dataclass(frozen=True)
class Sampled:
    """Stochastic policy: samples from the masked softmax of the logits, or from a normal distribution.

    Args:
        space: the action space.
    """

    space: ActionSpace

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        if isinstance(self.space, Continuous):
            return gaussian.sample(output, self.space, rng), state
        if isinstance(self.space, Mixed):
            both = mixed.Product(self.space, Sampled(self.space.choices), Sampled(self.space.numbers))
            return both(output, action_mask, state, rng)

        # exponential race: of independent exponential waiting times with rates p_i, the shortest is that of choice i
        # with probability p_i; it returns a choice for logits that are not finite, too, and needs no synchronization
        def sample(log_probs: Tensor) -> Tensor:
            times = torch.empty_like(log_probs).exponential_(generator=rng)
            return (log_probs - times.clamp_(min=torch.finfo(log_probs.dtype).tiny).log_()).argmax(-1)

        return _select(sample, output, self.space, action_mask), state

    def conditional_output(self, output: Float[Tensor, "*B D"], state: State) -> Float[Tensor, "*B D"]:
        """The output whose distribution the action was drawn from: the agent's own.

        Args:
            output: of the agent.
            state: of the policy before the action.
        """
        return output


@dataclass(frozen=True)
class Greedy:
    """Greedy policy: the first of the most likely allowed choices, or the mean of a normal distribution.

    Args:
        space: the action space.
    """

    space: ActionSpace

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        if isinstance(self.space, Continuous):
            return gaussian.mode(output, self.space), state
        if isinstance(self.space, Mixed):
            both = mixed.Product(self.space, Greedy(self.space.choices), Greedy(self.space.numbers))
            return both(output, action_mask, state, rng)
        return _select(lambda log_probs: log_probs.argmax(-1), output, self.space, action_mask), state


@dataclass(frozen=True)
class MeanAction:
    """Policy of real numbers that are the means of the agent's output, with their gradient.

    Args:
        space: the action space.
    """

    space: Continuous

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        return gaussian.mean_action(output, self.space), state


def sampled_choices(space: ActionSpace) -> "Sampled | mixed.Product":
    """The policy that samples choices, and leaves real numbers beside them as the agent's outputs, with their gradient.

    Args:
        space: the action space.
    """
    if isinstance(space, Mixed):
        return mixed.Product(space, Sampled(space.choices), MeanAction(space.numbers))
    return Sampled(space)


@dataclass(frozen=True)
class EpsilonGreedy:
    """Epsilon-greedy policy: the allowed action of highest value; with probability epsilon a random allowed action.

    Args:
        space: the action space, one discrete choice.
        epsilon: for all rows, or for each row (B,) on the device of the output; see `LinearEpsilon` and `ApexEpsilon`
            of `badger.learners.schedules`.

    Raises:
        ValueError: an action space other than Discrete; an epsilon outside 0 to 1.
    """

    space: ActionSpace
    epsilon: float | Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.space, Discrete):
            raise ValueError(f"space={self.space}, want tasks.Discrete: a value for each choice of one action")
        if isinstance(self.epsilon, float | int) and not 0 <= self.epsilon <= 1:
            raise ValueError(f"epsilon={self.epsilon}, want a probability, 0 to 1")

    def __call__(
        self, output: Tensor, action_mask: Tensor | None, state: State, rng: torch.Generator
    ) -> tuple[Tensor, State]:
        def choose(log_probs: Tensor) -> Tensor:
            random = torch.rand(log_probs.shape, generator=rng, device=rng.device, dtype=log_probs.dtype)
            if action_mask is not None:
                random = torch.where(action_mask, random, random - 1)
            explores = torch.rand(log_probs.shape[:-1], generator=rng, device=rng.device) < self.epsilon
            return torch.where(explores, random.argmax(-1), log_probs.argmax(-1))

        assert isinstance(self.space, Discrete)
        return _select(choose, output, self.space, action_mask), state


POLICIES: dict[str, Callable[[ActionSpace], Policy]] = {"sampled": Sampled, "greedy": Greedy}
"""Policies by name, each a function from an action space to a policy."""


def log_probability(
    output: Float[Tensor, "*B D"], action: Tensor, space: ActionSpace, action_mask: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """Log-probability of an action, summed over its choices or numbers.

    Args:
        output: of the agent.
        action: integers (...) of a Discrete, (..., choices) of a MultiDiscrete, numbers (..., size) of a Continuous, or
            choices and numbers of a Mixed.
        space: the action space.
        action_mask: allowed choices.
    """
    if isinstance(space, Continuous):
        return gaussian.log_probability(output, action, space)
    if isinstance(space, Mixed):
        (logits, normal), (choices, numbers) = mixed.split_output(output, space), space.split(action)
        chosen = log_probability(logits, choices, space.choices, action_mask)
        return chosen + gaussian.log_probability(normal, numbers, space.numbers)
    choices = action.unsqueeze(-1) if isinstance(space, Discrete) else action
    log_probs = _log_probs(output, space, action_mask)
    return _sum(part.gather(-1, choices[..., i : i + 1]).squeeze(-1) for i, part in enumerate(log_probs))


def entropy(
    output: Float[Tensor, "*B D"], space: ActionSpace, action_mask: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """Entropy of the action distribution in nats, summed over choices or numbers.

    Args:
        output: of the agent.
        space: the action space.
        action_mask: allowed choices.
    """
    if isinstance(space, Continuous):
        return gaussian.entropy(output, space)
    if isinstance(space, Mixed):
        logits, normal = mixed.split_output(output, space)
        return entropy(logits, space.choices, action_mask) + gaussian.entropy(normal, space.numbers)
    return _sum(-(part.exp() * part).sum(-1) for part in _log_probs(output, space, action_mask))


def simpson(
    output: Float[Tensor, "*B D"], space: ActionSpace, action_mask: Bool[Tensor, "*B A"] | None = None
) -> Float[Tensor, "*B"]:
    """Simpson index of the action distribution, sum_a pi(a)^2: the probability that two samples are equal.

    It is 1 for a deterministic policy, and is summed over choices. As a penalty it prevents an early collapse of the
    policy.

    Args:
        output: of the agent.
        space: the action space.
        action_mask: allowed choices.

    Source: Simpson 1949; Miconi et al. 2018 (arXiv:1804.02464) use it in mazes.
    """
    if isinstance(space, Continuous):
        return gaussian.simpson(output, space)
    if isinstance(space, Mixed):
        logits, normal = mixed.split_output(output, space)
        return simpson(logits, space.choices, action_mask) + gaussian.simpson(normal, space.numbers)
    return _sum(part.exp().square().sum(-1) for part in _log_probs(output, space, action_mask))


def _select(
    choose: Callable[[Tensor], Tensor], output: Tensor, space: DiscreteActionSpace, action_mask: Tensor | None
) -> Tensor:
    with torch.no_grad():
        choices = [choose(part) for part in _log_probs(output, space, action_mask)]
    return choices[0] if isinstance(space, Discrete) else torch.stack(choices, -1)


def _log_probs(output: Tensor, space: DiscreteActionSpace, action_mask: Tensor | None) -> list[Tensor]:
    """Log-probabilities (..., n) of each choice. Masked actions get a very low logit.

    Not -inf, which would make entropies and gradients NaN. An all-False mask thereby allows all actions.
    """
    if output.shape[-1] not in (space.size, space.size + 1):
        raise ValueError(
            f"output has {output.shape[-1]} numbers, want the {space.size} logits of {space}, and at most one value: "
            "make the policy for the action_space of the task"
        )
    logits = output[..., : space.size]
    if action_mask is not None:
        logits = logits.masked_fill(~action_mask, torch.finfo(logits.dtype).min)
    parts = [logits] if isinstance(space, Discrete) else logits.split(list(space.nvec), -1)
    return [part.log_softmax(-1) for part in parts]


def _sum(parts: Iterable[Tensor]) -> Tensor:
    return functools.reduce(torch.add, parts)
