"""Recall what any expert has seen: a task in which sharing a memory must help."""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import one_hot

from tasks.task import Discrete, Step, Task, check_positive, reward_and_correct


class PooledState(NamedTuple):
    keys: Int[Tensor, "B S E"]  # shown to each expert at each step
    values: Int[Tensor, "B S E"]
    query_keys: Int[Tensor, "B Q E"]  # the key that each expert is asked for; -1: it is not asked
    targets: Int[Tensor, "B Q"]  # the value that goes with it
    t: Int[Tensor, " B"]  # actions made


@dataclass(frozen=True)
class PooledRecall(Task):
    """Every expert is shown pairs of a key and a value; then one expert at a time is asked for the value of any key.

    For `num_shown` steps expert e sees pairs of its own, [one-hot key, one-hot value]; each of the shown x experts keys
    occurs once, its value is drawn. For `num_queries` steps one expert, drawn anew, sees [one-hot key, 0], of any of the
    keys; the others see 0. The agent's one answer is due in that step, so that there is no time to ask around. With
    memories of their own, experts know one in E answers; with one that they share, a single read tells each of them.

    Observations are (B, E, keys + values), for `sense.Each`. Actions are logits (B, values) or integers (B,). The
    reward of an answer that is due is its log-probability, or 1 for the right integer, divided by `num_queries`.

    Scores: `accuracy` of the answers due.

    Args:
        steps: shown + asks.
        experts: E. values: how many there are. num_queries: questions in an episode; the steps before them show pairs.
    """

    steps: int = 8
    experts: int = 4
    values: int = 4
    num_queries: int = 4

    differentiable: ClassVar[bool] = True
    score: ClassVar[str] = "accuracy"
    better: ClassVar[str] = "higher"

    def __post_init__(self) -> None:
        check_positive(steps=self.steps, experts=self.experts, values=self.values, asks=self.num_queries)
        if self.num_queries >= self.steps:
            raise ValueError(
                f"num_queries={self.num_queries} leave no step to show anything in steps={self.steps}; want asks < steps"
            )

    @property
    def num_shown(self) -> int:
        """Steps in which pairs are shown."""
        return self.steps - self.num_queries

    @property
    def keys(self) -> int:
        return self.num_shown * self.experts

    @property
    def obs_size(self) -> int:
        return self.keys + self.values

    @property
    def action_space(self) -> Discrete:
        return Discrete(self.values)

    def reset(self, batch: int, rng: torch.Generator) -> tuple[PooledState, Step]:
        device, asks = rng.device, (batch, self.num_queries)
        keys = torch.rand(batch, self.keys, generator=rng, device=device).argsort(-1)  # who sees which, and when
        values = torch.randint(self.values, (batch, self.keys), generator=rng, device=device)
        pair = torch.randint(self.keys, asks, generator=rng, device=device)
        whom = torch.randint(self.experts, asks, generator=rng, device=device)
        asked = torch.where(one_hot(whom, self.experts) > 0, keys.gather(1, pair).unsqueeze(-1), -1)
        seen_keys, seen_values = (part.unflatten(1, (self.num_shown, self.experts)) for part in (keys, values))
        t = torch.zeros(batch, dtype=torch.long, device=device)
        state = PooledState(seen_keys, seen_values, asked, values.gather(1, pair), t)
        nothing = torch.zeros(batch, dtype=self.dtype, device=device)
        return state, self._make_step(state, nothing, torch.full_like(nothing, torch.nan))

    def step(self, state: PooledState, action: Tensor, rng: torch.Generator) -> tuple[PooledState, Step]:
        rows = torch.arange(len(action), device=action.device)
        wanted = state.targets[rows, (state.t - self.num_shown).clamp(0, self.num_queries - 1)]
        given, right = reward_and_correct(action, wanted, self.dtype)
        due = state.t >= self.num_shown
        reward = torch.where(due, given / self.num_queries, 0)
        accuracy = torch.where(due, right, torch.nan)
        state = state._replace(t=state.t + 1)
        return state, self._make_step(state, reward, accuracy)

    def _make_step(self, state: PooledState, reward: Tensor, accuracy: Tensor) -> Step:
        last = state.t >= self.steps
        return Step(self._observe(state), reward, last, torch.zeros_like(last), {"accuracy": accuracy})

    def _observe(self, state: PooledState) -> Float[Tensor, "B E O"]:
        rows, show = torch.arange(len(state.t), device=state.t.device), state.t < self.num_shown
        shown, asked = state.t.clamp(max=self.num_shown - 1), (state.t - self.num_shown).clamp(0, self.num_queries - 1)
        key = torch.where(show.unsqueeze(-1), state.keys[rows, shown], state.query_keys[rows, asked])  # (B, E)
        value = torch.where(show.unsqueeze(-1), state.values[rows, shown], -1)
        hot = [one_hot(part + 1, n + 1)[..., 1:] for part, n in ((key, self.keys), (value, self.values))]  # -1: zeros
        return torch.cat(hot, -1).to(self.dtype)

    def references(self) -> dict[str, dict[str, float]]:
        """Chance; the best without sharing, which knows what the one who is asked has seen; and perfect recall."""
        chance = 1 / self.values
        alone = 1 / self.experts
        return {"accuracy": {"chance": chance, "no sharing": alone + (1 - alone) * chance, "perfect recall": 1.0}}
