"""Trajectory Transformer: a core that plans by beam search in a transformer over recorded steps.

Shapes: B episode, N members, R = B N, D input, Y output, S numbers of a step, G numbers of a goal, C1 previous steps,
T step of a window.
"""

from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import one_hot, pad

from experts import state as states
from experts.core import Core, check_at_most, check_positive
from experts.random_key import RandomKey, initial_key
from experts.trajectory.beam_search import BeamSearch
from experts.trajectory.discretizer import Discretizer
from experts.trajectory.layout import EXAMPLE, LARGEST, StepLayout, check_layout
from experts.trajectory.transformer import Cache, TokenTransformer


class TrajectoryState(NamedTuple):
    """What a plan depends on besides the input.

    Args:
        past: bins of the previous steps, newest last.
        now: bins of the last observation, which becomes a step with the next input.
        inputs: their number so far.
        y: last output.
        score: of the last plan: the return that was expected of it, or the likelihood of its actions.
        key: of random numbers.
    """

    past: Int[Tensor, "B N C1 S"]
    now: Int[Tensor, "B N s"]
    inputs: Int[Tensor, "B N"]
    y: Float[Tensor, "B N Y"]
    score: Float[Tensor, "B N"]
    key: RandomKey


class TrajectoryTransformer(Core):
    """Trajectory Transformer: the output is the first action of a sequence that beam search found.

    Each number of a step (state, action, reward, end, value to go) is one of a few bins, a token; a causal transformer
    predicts each token from those before. The value to go of step t is sum_{k > t} gamma^(k - t - 1) r_k, without r_t.
    The end, which the paper does not have, tells plans that nothing follows: else they reach a goal several times.
    Planning continues the last `history` steps by `horizon` steps (`experts.trajectory.beam_search`), with a key-value
    cache. The value to go of steps that were lived is not known yet; it is the one that the model expects.

    The output begins with the action: a choice one-hot, other numbers as they are. The model's probabilities of the
    first choice follow, or its expectation; then zeros. The input is that of `PreviousActionReward`.
    Members plan separately. A transformer is trained on recorded episodes by the learner `trajectory_transformer`, not
    by the gradient of the output, which goes through these probabilities alone.

    Args:
        input_size: D, at least that of the layout.
        hidden_size: Y, at least the numbers of an action and the options of its first choice.
        layout: of the input; recipes pass that of their task.
        objective: return: plans have the highest expected return; likelihood: the most likely actions, for imitation;
            goal: the most likely actions before a final state, the goal that the observation names, which is the first
            that the transformer reads; plans that reach it sooner are more likely.
        width: of the transformer.
        layers: of the transformer.
        heads: of attention.
        bins: of each number.
        history: steps that are read, with the present one.
        horizon: steps that are planned.
        beam: sequences that are kept.
        expand: actions by which each sequence is continued.
        action_mass: probability of the most likely actions, from which these are drawn.
        gamma: discount.

    Raises:
        ValueError: a size below 1, sizes that do not fit the layout, a probability or discount outside of 0 to 1, or
            an objective that is not known or, without a goal in the observation, "goal".

    Source: Janner, Li and Levine 2021 (arXiv:2106.02039).
    """

    reads_measurements = True

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        layout: StepLayout | None = EXAMPLE,
        objective: Literal["return", "likelihood", "goal"] = "return",
        width: int = 64,
        layers: int = 2,
        heads: int = 2,
        bins: int = 100,
        history: int = 1,
        horizon: int = 5,
        beam: int = 8,
        expand: int = 2,
        action_mass: float = 0.6,
        gamma: float = 0.99,
    ):
        super().__init__()
        check_positive(width=width, layers=layers, heads=heads, history=history, horizon=horizon)
        check_positive(hidden_size=hidden_size, beam=beam, expand=expand)
        check_at_most(LARGEST, bins=bins, beam=beam, expand=expand)
        for name, value in (("action_mass", action_mass), ("gamma", gamma)):
            if not 0 <= value <= 1:
                raise ValueError(f"{name}={value}, want a number from 0 to 1")
        self.layout = check_layout(layout, objective, input_size, hidden_size)
        self.input_size, self.output_size, self.history = input_size, hidden_size, history
        self.window, self.gamma = history - 1 + horizon, gamma
        length = len(self.layout.goals) + self.window * self.layout.size
        self.search = BeamSearch(
            TokenTransformer(self.layout.size, bins, length, width, layers, heads),
            Discretizer(self.layout.options, bins),
            self.layout,
            horizon=horizon,
            beam=beam,
            expand=expand,
            action_mass=action_mass,
            gamma=gamma,
            likelihood=objective != "return",
        )

    @property
    def model(self) -> TokenTransformer:
        """The transformer."""
        return self.search.model

    @property
    def discretizer(self) -> Discretizer:
        """The bins of its tokens."""
        return self.search.discretizer

    def initial_state(self, x: Float[Tensor, "B N D"]) -> TrajectoryState:
        lead, layout = x.shape[:2], self.layout
        integers = x.new_zeros(lead, dtype=torch.long)
        return TrajectoryState(
            integers.new_zeros(*lead, self.history - 1, layout.size),
            integers.new_zeros(*lead, len(layout.state)),
            integers,
            x.new_zeros(*lead, self.output_size),
            x.new_zeros(lead),
            initial_key(x),
        )

    def forward(
        self, x: Float[Tensor, "B N D"], state: TrajectoryState, present: Bool[Tensor, "B N"] | None = None
    ) -> tuple[Float[Tensor, "B N Y"], TrajectoryState]:
        layout, lead = self.layout, x.shape[:2]
        obs = x[..., : layout.obs]
        goal = self.discretizer.encode(layout.read_goal(obs), layout.goal_dims).flatten(0, 1)
        now = self.discretizer.encode(obs[..., layout.state], range(layout.first_action))
        past = self._complete(x, state, goal) if self.history > 1 else state.past
        seen = state.inputs.clamp(max=self.history - 1).flatten()
        features, cache, valid = self._read(goal, past.flatten(0, 1), seen, now.flatten(0, 1))
        key = RandomKey(*(part.flatten() for part in state.key))
        plan = self.search(cache, features, valid, goal, key)
        y = self._output(plan.action, features).view(*lead, self.output_size)
        new = TrajectoryState(past, now, state.inputs + 1, y, plan.score.view(lead), state.key.next())
        new = new if present is None else states.where(present, new, state)
        return new.y, new

    @torch.no_grad()
    def _complete(self, x: Tensor, state: TrajectoryState, goal: Int[Tensor, "R G"]) -> Int[Tensor, "B N C1 S"]:
        """The previous steps with the one that the input completes, where it is not the first of an episode."""
        layout = self.layout
        dims, value = range(layout.first_action, layout.size - 1), layout.size - 1
        reward = layout.read_reward(x)
        numbers = torch.cat([layout.read_action(x), reward, torch.zeros_like(reward)], -1)
        step = torch.cat([state.now, self.discretizer.encode(numbers, dims)], -1)
        seen = (state.inputs - 1).clamp(0, self.history - 1).flatten()
        features, _, _ = self._read(goal, state.past.flatten(0, 1), seen, step.flatten(0, 1))
        probs = self.model.logits(features, value, self.discretizer.used).softmax(-1)
        expected = self.discretizer.expectation(probs, value).view(*x.shape[:2], 1)
        step = torch.cat([step, self.discretizer.encode(expected, [value])], -1).unsqueeze(2)
        begun = (state.inputs > 0).view(*x.shape[:2], 1, 1)
        return torch.where(begun, torch.cat([state.past[:, :, 1:], step], 2), state.past)

    def _read(
        self, goal: Int[Tensor, "R G"], past: Int[Tensor, "R C1 S"], seen: Int[Tensor, " R"], step: Int[Tensor, "R p"]
    ) -> tuple[Tensor, Cache, Bool[Tensor, "R L"]]:
        """Features of the last token of a history, its cache, and which of its tokens are valid.

        Args:
            goal: bins of the final state.
            past: previous steps.
            seen: how many of them, at the end, are valid.
            step: the first bins of the present step.
        """
        tokens = torch.cat([goal, past.flatten(1), step], 1)
        age = torch.arange(past.shape[1], 0, -1, device=tokens.device)
        inside = (age <= seen.unsqueeze(-1)).repeat_interleave(self.layout.size, 1)
        valid = torch.cat([torch.ones_like(goal, dtype=torch.bool), inside, torch.ones_like(step, dtype=torch.bool)], 1)
        causal = torch.ones(tokens.shape[1], tokens.shape[1], dtype=torch.bool, device=tokens.device).tril()
        itself = torch.eye(tokens.shape[1], dtype=torch.bool, device=tokens.device)  # else rows without any are NaN
        mask = (causal & valid.unsqueeze(1)) | itself
        position = (valid.cumsum(-1) - 1).clamp(min=0)
        dims = torch.tensor(self.layout.sequence(past.shape[1] + 1), device=tokens.device)[: tokens.shape[1]]
        features, cache = self.model(tokens, dims, position, mask.unsqueeze(1))
        return features[:, -1], cache, valid

    def _output(self, action: Int[Tensor, "R A"], features: Float[Tensor, "R W"]) -> Float[Tensor, "R Y"]:
        """The planned action, the model's own preference for the first number of it, and zeros."""
        layout, first = self.layout, self.layout.first_action
        options = layout.options[first : first + layout.actions]
        parts = [one_hot(token, n) for token, n in zip(action.unbind(-1), options, strict=True) if n is not None]
        numbers = range(first + len(layout.choices), first + layout.actions)
        parts.append(self.discretizer.decode(action[:, len(layout.choices) :], numbers))
        probs = self.model.logits(features, first, self.discretizer.used).softmax(-1)
        parts.append(probs[:, : options[0]] if options[0] else self.discretizer.expectation(probs, first).unsqueeze(-1))
        y = torch.cat([part.to(features.dtype) for part in parts], -1)
        return pad(y, (0, self.output_size - y.shape[-1]))

    def metrics(self, state: TrajectoryState) -> dict[str, Float[Tensor, " B"]]:
        """The score of the last plan: the return that is expected, or the log-likelihood of its actions."""
        return {"plan_score": state.score.mean(-1)}
