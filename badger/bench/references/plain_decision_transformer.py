"""A plain Decision Transformer as one would write it for one task, with its loop of training and of acting.

Shapes: B episode, T step, S numbers of a state, A actions, W width.
"""

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, one_hot, scaled_dot_product_attention

from badger.datasets import Episodes


class PlainBlock(nn.Module):
    """A block of GPT-2 with torch's scaled dot-product attention.

    Args:
        width: W.
        heads: of the attention.
    """

    def __init__(self, width: int, heads: int):
        super().__init__()
        self.heads = heads
        self.norm, self.norm_within = nn.LayerNorm(width), nn.LayerNorm(width)
        self.query_key_value, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))

    def forward(self, x: Float[Tensor, "B tokens W"]) -> Float[Tensor, "B tokens W"]:
        parts = self.query_key_value(self.norm(x)).chunk(3, -1)
        query, key, value = (part.unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in parts)
        read = scaled_dot_product_attention(query, key, value, is_causal=True)
        x = x + self.out(read.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_within(x))


class PlainDecisionTransformer(nn.Module):
    """Returns-to-go, states and actions with a shared time embedding; logits of the actions from the states' tokens.

    Args:
        state: S.
        actions: A.
        width: W.
        layers: of the transformer.
        heads: of its attention.
        max_time: rows of the time embedding.
    """

    def __init__(self, state: int, actions: int, width: int, layers: int, heads: int, max_time: int):
        super().__init__()
        self.asked, self.state, self.action = nn.Linear(1, width), nn.Linear(state, width), nn.Linear(actions, width)
        self.time, self.norm, self.last_norm = nn.Embedding(max_time, width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.blocks = nn.Sequential(*(PlainBlock(width, heads) for _ in range(layers)))
        self.head = nn.Linear(width, actions)

    def forward(
        self,
        asked: Float[Tensor, "B T"],
        state: Float[Tensor, "B T S"],
        action: Float[Tensor, "B T A"],
        time: Int[Tensor, "B T"],
    ) -> Float[Tensor, "B T A"]:
        at = self.time(time)
        tokens = [self.asked(asked.unsqueeze(-1)) + at, self.state(state) + at, self.action(action) + at]
        x = self.blocks(self.norm(torch.stack(tokens, 2).flatten(1, 2)))
        return self.head(self.last_norm(x[:, 1::3]))


class PlainTraining:
    """Training from episodes in memory: windows that begin at random steps, cross-entropy, clipped AdamW.

    Args:
        model: what is trained.
        episodes: recorded episodes of choices.
        steps: T of a window.
        batch: B.
    """

    def __init__(self, model: PlainDecisionTransformer, episodes: Episodes, steps: int, batch: int):
        self.model, self.episodes, self.steps, self.batch = model, episodes, steps, batch
        self.to_go = episodes.reward.flip(1).cumsum(1).flip(1)
        self.actions = model.head.out_features
        self.optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
        self.first_steps = episodes.valid.nonzero()

    def update(self) -> Tensor:
        """One step of the optimizer; returns the loss."""
        rows, start = self.first_steps[torch.randint(len(self.first_steps), (self.batch,))].unbind(1)
        time = start.unsqueeze(1) + torch.arange(self.steps)
        valid = time < self.episodes.length[rows].unsqueeze(1)
        time = torch.where(valid, time, 0)
        at = rows.unsqueeze(1), time
        action = self.episodes.action[at]
        logits = self.model(self.to_go[at], self.episodes.obs[at], one_hot(action, self.actions).float(), time)
        loss = _masked_cross_entropy(logits, action, valid)
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 0.25)
        self.optimizer.step()
        return loss.detach()


@torch.no_grad()
def act_by_encoding_anew(model: PlainDecisionTransformer, states: Float[Tensor, "T B S"]) -> Tensor:
    """Logits (B, A) after T steps, at each of which all steps so far are encoded; rewards are 0, and actions 0.

    Args:
        model: what acts.
        states: of all steps.
    """
    steps, batch, _ = states.shape
    asked, action = states.new_ones(batch, steps), states.new_zeros(batch, steps, model.head.out_features)
    seen, time = states.movedim(0, 1), torch.arange(steps).expand(batch, steps)
    logits = asked
    for t in range(1, steps + 1):
        logits = model(asked[:, :t], seen[:, :t], action[:, :t], time[:, :t])[:, -1]
    return logits


def _masked_cross_entropy(
    logits: Float[Tensor, "B T A"], action: Int[Tensor, "B T"], valid: Bool[Tensor, "B T"]
) -> Tensor:
    losses = cross_entropy(logits.flatten(0, 1), action.flatten(), reduction="none")
    return torch.where(valid.flatten(), losses, 0).sum() / valid.sum()
