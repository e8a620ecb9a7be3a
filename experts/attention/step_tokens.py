"""Tokens of the steps of an episode, and which of them see which: return-to-go, state and action of each step.

A row is what is known when a step is observed: the action of the step before, the return-to-go and the state. So the
tokens of U rows are a_{-1}, g_0, s_0, a_0, g_1, s_1, ..., whose first one stands for no action.

Shapes: R sequence (an episode and member), T step, U row, F numbers of a row, A action, W width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

TOKENS = 3  # of a row


class StepTokens(nn.Module):
    """Linear embeddings of action, return-to-go and state with the embedding of their time, and a norm.

    The table of times has a row for each step up to `max_time`, and one row for all later ones, which is zero until an
    episode that long is learned from.

    Args:
        state: numbers of a state.
        action: A, numbers of an action.
        width: W.
        max_time: steps with an embedding of their own.
        std: of the initial weights.
    """

    def __init__(self, state: int, action: int, width: int, max_time: int, std: float):
        super().__init__()
        self.max_time = max_time
        self.action, self.asked, self.state = nn.Linear(action, width), nn.Linear(1, width), nn.Linear(state, width)
        self.time, self.norm = nn.Embedding(max_time + 1, width), nn.LayerNorm(width)
        for linear in (self.action, self.asked, self.state):
            nn.init.normal_(linear.weight, std=std)
            nn.init.zeros_(linear.bias)
        nn.init.normal_(self.time.weight, std=std)
        with torch.no_grad():
            self.time.weight[max_time].zero_()

    def forward(self, rows: Float[Tensor, "*R U F"], time: Int[Tensor, "*R U"]) -> Float[Tensor, "*R tokens W"]:
        """The tokens of some rows, three of each.

        Args:
            rows: the last action, the return-to-go, and the state, one behind the other.
            time: of each row; the action is of the step before.
        """
        action, asked, state = rows.tensor_split([self.action.in_features, self.action.in_features + 1], -1)
        now, before = (self.time(t.clamp(0, self.max_time)) for t in (time, time - 1))
        tokens = [self.action(action) + before, self.asked(asked) + now, self.state(state) + now]
        return self.norm(torch.stack(tokens, -2).flatten(-3, -2))


def visible_tokens(
    episode: Int[Tensor, "*R U"], valid: Bool[Tensor, "*R U"], context: int | None = None
) -> Bool[Tensor, "*R tokens tokens"]:
    """What each token sees: itself, and the earlier ones of its episode, less the action before their first row.

    Args:
        episode: of each row, a number that differs from the one before where an episode begins.
        valid: rows that there are.
        context: steps that a token sees, its own one included, with what follows the oldest of them; None: all.
    """
    rows = torch.arange(episode.shape[-1], device=episode.device)
    age = rows.unsqueeze(-1) - rows  # (U, U)
    same = (episode.unsqueeze(-1) == episode.unsqueeze(-2)) & valid.unsqueeze(-2)
    began = torch.ones_like(valid)
    began[..., 1:] = ~valid[..., :-1] | (episode[..., 1:] != episode[..., :-1])
    sees = same if context is None else same & (age < context)
    acted = same & ~began.unsqueeze(-2)
    acted = acted if context is None else acted & (age < context - 1)
    of_rows = torch.stack([acted, sees, sees], -1).flatten(-2).repeat_interleave(TOKENS, -2)  # (*R, 3 U, 3 U)
    tokens = torch.arange(TOKENS * len(rows), device=episode.device)
    older = tokens.unsqueeze(-1) > tokens
    return (of_rows & older) | (tokens.unsqueeze(-1) == tokens)
