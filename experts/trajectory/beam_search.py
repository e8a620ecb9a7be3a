"""Beam search for the action that begins the best of several imagined sequences of steps.

Shapes: R row (an episode and member), L token of the history, M sequence of the beam, S numbers of a step, K bins,
A numbers of an action.
"""

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from experts.random_key import RandomKey
from experts.trajectory.discretizer import Discretizer
from experts.trajectory.layout import StepLayout
from experts.trajectory.transformer import Cache, TokenTransformer, select_rows


class Plan(NamedTuple):
    """What a beam search found.

    Args:
        action: bins of the first action of the best sequence.
        score: of that sequence.
    """

    action: Int[Tensor, "R A"]
    score: Float[Tensor, " R"]


class Beam(NamedTuple):
    """The sequences so far, all those of a row side by side.

    Args:
        cache: of all their tokens.
        features: of the last token.
        valid: tokens of the cache that are part of the sequence.
        action: bins of the first action.
        gain: sum of rewards, or log-likelihood of the actions, so far.
        alive: probability that the sequence has not ended.
        score: the same with what is expected from there on; by it sequences are compared.
    """

    cache: Cache
    features: Float[Tensor, "RM W"]
    valid: Bool[Tensor, "RM L"]
    action: Int[Tensor, "RM A"]
    gain: Float[Tensor, " RM"]
    alive: Float[Tensor, " RM"]
    score: Float[Tensor, " RM"]

    def select(self, index: Int[Tensor, " RM2"]) -> "Beam":
        """Some of the sequences, possibly several times."""
        parts = (part[index] for part in self[1:])
        return Beam(select_rows(self.cache, index), *parts)


class BeamSearch(nn.Module):
    """Beam search with actions that are drawn, and states, rewards and values that are the most likely ones.

    In each of `horizon` steps every sequence is continued by up to `expand` first numbers of an action, drawn without
    replacement from the most likely ones that have `action_mass` of the probability; further numbers of the action are
    drawn one by one. The `beam` best of all continuations are kept, by the expected rewards
    sum_k gamma^k r_k + gamma^(h + 1) V_h, where V is the value to go, or by the likelihood of their actions. What
    follows an end does not count: all of it is multiplied by the probability that there was none. On the way to a goal
    the end is known: it is where the predicted state is the goal, so that what reaches it sooner is more likely.

    Args:
        model: the transformer.
        discretizer: its bins.
        layout: of a step.
        horizon: steps of a sequence.
        beam: sequences that are kept.
        expand: continuations of each.
        action_mass: probability of the actions that are drawn from.
        gamma: discount.
        likelihood: whether sequences are compared by likelihood, to imitate or to reach a goal.

    Source: Janner, Li and Levine 2021 (arXiv:2106.02039), algorithm 1, which draws with replacement.
    """

    def __init__(
        self,
        model: TokenTransformer,
        discretizer: Discretizer,
        layout: StepLayout,
        *,
        horizon: int,
        beam: int,
        expand: int,
        action_mass: float,
        gamma: float,
        likelihood: bool,
    ):
        super().__init__()
        self.model, self.discretizer, self.layout = model, discretizer, layout
        self.horizon, self.beam, self.expand = horizon, beam, expand
        self.action_mass, self.gamma, self.likelihood = action_mass, gamma, likelihood

    @torch.no_grad()
    def forward(
        self,
        cache: Cache,
        features: Float[Tensor, "R W"],
        valid: Bool[Tensor, "R L"],
        goal: Int[Tensor, "R G"],
        key: RandomKey,
    ) -> Plan:
        """The best sequence after a history.

        Args:
            cache: of the history, whose last token is the last number of the present state.
            features: of that token.
            valid: tokens of the history that are part of it, at its end.
            goal: bins of the final state.
            key: of R seeds.
        """
        action = torch.zeros(len(features), self.layout.actions, dtype=torch.long, device=features.device)
        zeros, count = features.new_zeros(len(features)), 1
        beam = Beam(cache, features, valid, action, zeros, zeros + 1, zeros)
        for step in range(self.horizon):
            beam, count = self._act(beam, count, step, key)
            if step + 1 < self.horizon:
                beam = self._predict(beam, goal)
        best = _best(beam.score, count, 1)
        return Plan(beam.action[best], beam.score[best])

    def _act(self, beam: Beam, count: int, step: int, key: RandomKey) -> tuple[Beam, int]:
        """The best continuations by an action, with its reward, and how many of each row there are.

        The value to go is expected, and not yet a token. Plans that are compared by likelihood are pruned before their
        last token is read: what follows does not change it.
        """
        first, numbers = self.layout.first_action, self.layout.actions
        tokens: list[Tensor] = []
        for dim in range(first, first + numbers):
            log_probs = self._logits(beam, dim).log_softmax(-1)
            uniform = key.uniform(log_probs, count, self._options(dim), stream=step * numbers + dim - first)
            drawn = self._perturbed(log_probs, uniform.flatten(0, 1))
            expand = min(self.expand, drawn.shape[-1]) if dim == first else 1
            keys, token = drawn.topk(expand, -1)  # (RM, E)
            index = torch.arange(len(token), device=token.device).repeat_interleave(expand)
            log_prob = log_probs.gather(-1, token).flatten() * beam.alive[index]
            impossible = torch.where(keys.flatten() == -torch.inf, -torch.inf, 0)
            gain = beam.gain[index] + impossible + (log_prob if self.likelihood else 0)
            tokens, count = [*(earlier[index] for earlier in tokens), token.flatten()], count * expand
            if self.likelihood and dim == first + numbers - 1:
                kept = min(self.beam, count)
                best = _best(gain, count, kept)
                tokens, index, gain, count = [part[best] for part in tokens], index[best], gain[best], kept
            beam = self._append(beam.select(index)._replace(gain=gain), tokens[-1], dim)
        if not step:
            beam = beam._replace(action=torch.stack(tokens, -1))
        beam = self._reward(beam, step)
        kept = min(self.beam, count)
        return beam.select(_best(beam.score, count, kept)), kept

    def _reward(self, beam: Beam, step: int) -> Beam:
        """The sequences with their rewards, ends and scores."""
        dim, expectation = self.layout.reward, self.discretizer.expectation
        logits = self._logits(beam, dim)
        gain = beam.gain + self.gamma**step * beam.alive * expectation(logits.softmax(-1), dim)
        beam = self._append(beam, logits.argmax(-1), dim)
        logits = self._logits(beam, dim + 1)
        alive = beam.alive
        if not self.layout.goals:
            alive = alive * (1 - expectation(logits.softmax(-1), dim + 1))
        beam = self._append(beam, logits.argmax(-1), dim + 1)._replace(alive=alive)
        if self.likelihood:
            return beam._replace(score=beam.gain)
        value = expectation(self._logits(beam, dim + 2).softmax(-1), dim + 2)
        return beam._replace(gain=gain, score=gain + self.gamma ** (step + 1) * alive * value)

    def _predict(self, beam: Beam, goal: Int[Tensor, "R G"]) -> Beam:
        """The sequences with their most likely value to go and next state, which may be the goal."""
        beam, state = self._append(beam, self._logits(beam, self.layout.size - 1).argmax(-1), self.layout.size - 1), []
        for dim in range(self.layout.first_action):
            state.append(self._logits(beam, dim).argmax(-1))
            beam = self._append(beam, state[-1], dim)
        if not self.layout.goals:
            return beam
        there = torch.stack([state[dim] for dim in self.layout.goal_dims], -1)
        reached = (there == goal.repeat_interleave(len(there) // len(goal), 0)).all(-1)
        return beam._replace(alive=beam.alive * ~reached)

    def _perturbed(self, log_probs: Float[Tensor, "RM K"], uniform: Float[Tensor, "RM N"]) -> Float[Tensor, "RM N"]:
        """Log-probabilities of likely bins plus Gumbel noise, whose largest are draws without replacement."""
        log_probs = log_probs[:, : uniform.shape[-1]]
        sorted_probs, order = log_probs.exp().sort(-1, descending=True)
        before = sorted_probs.cumsum(-1) - sorted_probs
        likely = torch.zeros_like(before, dtype=torch.bool).scatter(-1, order, before <= self.action_mass)
        return torch.where(likely, log_probs - (-uniform.log()).log(), -torch.inf)

    def _options(self, dim: int) -> int:
        options = self.layout.options[dim]
        return self.model.bins if options is None else options

    def _logits(self, beam: Beam, dim: int) -> Float[Tensor, "RM K"]:
        return self.model.logits(beam.features, dim, self.discretizer.used)

    def _append(self, beam: Beam, token: Int[Tensor, " RM"], dim: int) -> Beam:
        """The sequences with one more token."""
        position = beam.valid.sum(-1, keepdim=True)
        valid = torch.cat([beam.valid, torch.ones_like(beam.valid[:, :1])], 1)
        dims = torch.full((1,), dim, device=token.device)
        features, cache = self.model(token.unsqueeze(1), dims, position, valid[:, None, None], beam.cache)
        return beam._replace(features=features[:, 0], cache=cache, valid=valid)


def _best(score: Float[Tensor, " RM"], count: int, kept: int) -> Int[Tensor, " RK"]:
    """The places of the best sequences of each row, of which there are `count`."""
    best = score.unflatten(0, (-1, count)).topk(kept, -1).indices
    start = torch.arange(len(best), device=best.device).unsqueeze(-1) * count
    return (start + best).flatten()
