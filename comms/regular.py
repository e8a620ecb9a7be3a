"""Hearing where everyone hears equally many: one softmax over a table of neighbours, dense or gathered.

Axes: B episode, E expert, K edge, N neighbour, H head, V value, D key.
"""

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from comms.topology import Edges


def hear_all(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    queries: Float[Tensor, "B E H D"],
    keys: Float[Tensor, "B E H D"],
) -> tuple[Float[Tensor, "B E H V"], Float[Tensor, "B K"]]:
    """Scores of all pairs, (B, H, receiver, sender), for graphs with a fair part of them as edges."""
    who, batch, experts = _neighbours(edges), *values.shape[:2]
    weight = edges.weight.new_zeros(batch, experts, experts).scatter(-1, who, edges.weight.unflatten(1, (experts, -1)))
    scores = queries.transpose(1, 2) @ keys.permute(0, 2, 3, 1)  # (B, H, E, E)
    shares = share(scores, weight.unsqueeze(1), senders=-1, heads=1)
    return (shares @ values.transpose(1, 2)).transpose(1, 2), shares.mean(1).gather(-1, who).flatten(1)


def hear_near(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    queries: Float[Tensor, "B E H D"],
    keys: Float[Tensor, "B E H D"],
) -> tuple[Float[Tensor, "B E H V"], Float[Tensor, "B K"]]:
    """Scores of edges alone, (B, N, E, H): nothing has the size of experts times experts.

    Neighbours come before experts, so that sums over the few neighbours run along the many experts.
    """
    who, batch, experts = _neighbours(edges), *values.shape[:2]
    first = torch.arange(0, batch * experts, experts, device=who.device).view(-1, 1, 1)
    rows = (who.mT + first).flatten()  # (B N E), in a list of all episodes' experts

    def near(x: Tensor) -> Tensor:  # (B, E, H, V) -> (B, N, E, H, V)
        listed = x.flatten(2).flatten(0, 1).contiguous()
        return listed.index_select(0, rows).view(batch, -1, *x.shape[1:])

    scores = (near(keys) * queries.unsqueeze(1)).sum(-1)
    weight = edges.weight.unflatten(1, (experts, -1)).mT.unsqueeze(-1)  # (B, N, E, 1)
    shares = share(scores, weight, senders=1, heads=-1)
    inbox = (shares.unsqueeze(-1) * near(values)).sum(1)
    return inbox, shares.mean(-1).mT.flatten(1)


def share(scores: Tensor, weight: Tensor, *, senders: int, heads: int) -> Tensor:
    """weight exp(scores), normalised over the axis `senders`; zeros where all weights are 0.

    `weight` has one head, `scores` some. The derivatives are those that `hear` promises, at dead edges too.
    """
    return _Share.apply(scores, weight, senders, heads)


class _Share(torch.autograd.Function):
    """By hand: autograd would need the shares of dead edges, and a dozen operations, to know what opening them does."""

    generate_vmap_rule = True

    @staticmethod
    def forward(scores: Tensor, weight: Tensor, senders: int, heads: int) -> Tensor:
        return (scores + weight.log()).softmax(senders).masked_fill(_alone(weight, senders), 0)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple, output: Tensor) -> None:
        scores, weight, ctx.senders, ctx.heads = inputs
        ctx.save_for_backward(scores, weight, output)

    @staticmethod
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor, Tensor | None, None, None]:
        scores, weight, shares = ctx.saved_tensors
        part = shares * slope
        mean = part.sum(ctx.senders, keepdim=True)
        to_weight = None
        if ctx.needs_input_grad[1]:
            rate = _rate(scores, weight, ctx.senders)
            to_weight = (rate * (slope - mean)).sum(ctx.heads, keepdim=True)
        return torch.addcmul(part, shares, mean, value=-1), to_weight, None, None


def _alone(weight: Tensor, senders: int) -> Tensor:
    return weight.amax(senders, keepdim=True) == 0


def _rate(scores: Tensor, weight: Tensor, senders: int) -> Tensor:
    """The share that an edge has for each unit of its weight; of dead edges, what it would be."""
    live = scores + weight.log()
    peak = scores.masked_fill(weight == 0, -torch.inf).amax(senders, keepdim=True)
    rate = (torch.minimum(scores, peak) - live.logsumexp(senders, keepdim=True)).exp()
    return rate.masked_fill(_alone(weight, senders), 1)


def _neighbours(edges: Edges) -> Int[Tensor, "B E N"]:
    assert edges.neighbours is not None
    return edges.neighbours
