"""Pooled recall: key-value recall across experts, which requires a shared memory."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct


class PooledState(NamedTuple):
    """State of pooled recall; S steps with pairs, Q queries.

    Args:
        keys: the key that each expert observes in each step.
        values: the value that each expert observes in each step.
        query_keys: the key that each expert is queried for; -1: no query.
        targets: the value of the queried key.
        t: the number of actions taken.
    """

    keys: Int[Tensor, "B S E"]
    values: Int[Tensor, "B S E"]
    query_keys: Int[Tensor, "B Q E"]
    targets: Int[Tensor, "B Q"]
    t: Int[Tensor, " B"]


@dataclass(frozen=True)
class PooledRecall(Task):
    """Key-value recall across experts: each expert observes its own pairs, and any expert is queried for any key.

    For `num_shown` steps each expert observes its own pairs, [one-hot key, one-hot value]; each of the num_shown x
    experts keys occurs once, with a random value. For `num_queries` steps one random expert observes [one-hot key, 0]
    of a random key; the others observe zeros. The agent answers in the same step, so that there is no time for
    messages. Experts with private memories can answer one query in E; with a shared memory one read answers each.

    Observations are (B, E, keys + values), one row per expert. Actions are logits (B, values) or integers (B,). The
    reward of an answer is its log-probability, or 1 for the correct integer, divided by `num_queries`.

    Score: `accuracy` of the answers.

    Args:
        steps: the length of an episode, num_shown + num_queries.
        experts: the number E of experts.
        values: the number of different values.
        num_queries: the number of queries; the steps before them show pairs.

    Raises:
        ValueError: `num_queries` not below `steps`, or a size below 1.
    """

    steps: int = 8
    experts: int = 4
    values: int = 4
    num_queries: int = 4

    differentiable: ClassVar[bool] = True
    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, experts=self.experts, values=self.values, num_queries=self.num_queries)
        if self.num_queries >= self.steps:
            raise ValueError(
                f"num_queries={self.num_queries} leave no step for pairs in steps={self.steps}, want fewer"
            )

    @property
    def num_shown(self) -> int:
        """The number of steps with pairs."""
        return self.steps - self.num_queries

    @property
    def keys(self) -> int:
        """The number of different keys."""
        return self.num_shown * self.experts

    @property
    def obs_size(self) -> int:
        return self.keys + self.values

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.values)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[PooledState, Step]:
        device, shape = rng.device, (batch, self.num_queries)
        keys = torch.rand(batch, self.keys, generator=rng, device=device).argsort(-1)  # by step and expert
        values = torch.randint(self.values, (batch, self.keys), generator=rng, device=device)
        pair = torch.randint(self.keys, shape, generator=rng, device=device)
        expert = torch.randint(self.experts, shape, generator=rng, device=device)
        query_keys = torch.where(one_hot(expert, self.experts) > 0, keys.gather(1, pair).unsqueeze(-1), -1)
        shown_keys, shown_values = (part.unflatten(1, (self.num_shown, self.experts)) for part in (keys, values))
        t = torch.zeros(batch, dtype=torch.long, device=device)
        state = PooledState(shown_keys, shown_values, query_keys, values.gather(1, pair), t)
        zeros = torch.zeros(batch, dtype=self.dtype, device=device)
        return state, self._make_step(state, zeros, torch.full_like(zeros, torch.nan))

    def step(self, state: PooledState, action: Tensor, rng: torch.Generator) -> tuple[PooledState, Step]:
        rows = torch.arange(len(action), device=action.device)
        target = state.targets[rows, (state.t - self.num_shown).clamp(0, self.num_queries - 1)]
        reward, correct = reward_and_correct(action, target, self.dtype)
        answer_mask = state.t >= self.num_shown
        reward = torch.where(answer_mask, reward / self.num_queries, 0)
        accuracy = torch.where(answer_mask, correct, torch.nan)
        state = state._replace(t=state.t + 1)
        return state, self._make_step(state, reward, accuracy)

    def _make_step(self, state: PooledState, reward: Tensor, accuracy: Tensor) -> Step:
        done = state.t >= self.steps
        return Step(self._observe(state), reward, done, torch.zeros_like(done), {"accuracy": accuracy})

    def _observe(self, state: PooledState) -> Float[Tensor, "B E O"]:
        rows, show_pairs = torch.arange(len(state.t), device=state.t.device), (state.t < self.num_shown).unsqueeze(-1)
        pair, query = state.t.clamp(max=self.num_shown - 1), (state.t - self.num_shown).clamp(0, self.num_queries - 1)
        key = torch.where(show_pairs, state.keys[rows, pair], state.query_keys[rows, query])  # (B, E)
        value = torch.where(show_pairs, state.values[rows, pair], -1)
        encoded = [
            one_hot(part + 1, n + 1)[..., 1:] for part, n in ((key, self.keys), (value, self.values))
        ]  # -1: zeros
        return torch.cat(encoded, -1).to(self.dtype)

    def references(self) -> dict[str, dict[str, float]]:
        """Accuracy of chance, of private memories (the best without sharing), and of perfect recall."""
        chance = 1 / self.values
        private = 1 / self.experts
        return {"accuracy": {"chance": chance, "no sharing": private + (1 - private) * chance, "perfect recall": 1.0}}
