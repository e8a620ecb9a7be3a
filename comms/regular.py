"""Hearing where everyone hears equally many: one softmax over a table of neighbours, dense or gathered.

In tables senders come before receivers: a softmax along many receivers is much quicker than many along few senders.

Axes: B episode, E expert, K edge, N neighbour, H head, V value, D key, S sender, R receiver.
"""

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor

from comms.topology import Edges, Table, tabulate


def hear_all(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    table: Table,
    queries: Float[Tensor, "B E H D"] | None,
    keys: Float[Tensor, "B E H D"] | None,
) -> tuple[Float[Tensor, "B E H V"], Float[Tensor, "B K"]]:
    """Scores of all pairs, (B, H, S, R), for graphs with a fair part of them as edges."""
    scores = values.new_zeros(())
    if queries is not None and keys is not None:
        scores = keys.transpose(1, 2) @ queries.permute(0, 2, 3, 1)
    shares = _shares(scores, edges, table, heads=1, senders=2)
    inbox = values.permute(0, 2, 3, 1) @ shares  # (B, H, V, R)
    return inbox.permute(0, 3, 1, 2), _one(shares, 1).gather(1, table.neighbours).mT.flatten(1)


def hear_near(
    values: Float[Tensor, "B E H V"],
    edges: Edges,
    table: Table,
    queries: Float[Tensor, "B E H D"] | None,
    keys: Float[Tensor, "B E H D"] | None,
) -> tuple[Float[Tensor, "B E H V"], Float[Tensor, "B K"]]:
    """Scores of edges alone, (B, N, R, H): nothing has the size of experts times experts."""
    batch, experts = values.shape[:2]
    first = torch.arange(0, batch * experts, experts, device=values.device).view(-1, 1, 1)
    rows = (table.neighbours + first).flatten()  # (B N R), in a list of all episodes' experts

    def near(x: Tensor) -> Tensor:  # (B, E, H, V) -> (B, N, R, H, V)
        listed = x.flatten(2).flatten(0, 1).contiguous()
        return listed.index_select(0, rows).view(batch, -1, *x.shape[1:])

    scores = values.new_zeros(())
    if queries is not None and keys is not None:
        scores = (near(keys) * queries.unsqueeze(1)).sum(-1)
    shares = _shares(scores, edges, table, heads=3, senders=1)
    inbox = (shares.unsqueeze(-1) * near(values)).sum(1)
    return inbox, _one(shares, 3).mT.flatten(1)


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
    def backward(ctx: Any, slope: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        scores, weight, shares = ctx.saved_tensors
        part = shares * slope
        mean = part.sum(ctx.senders, keepdim=True)
        to_scores = to_weight = None
        if ctx.needs_input_grad[0]:
            to_scores = torch.addcmul(part, shares, mean, value=-1)
        if ctx.needs_input_grad[1]:
            rate = _rate(scores, weight, ctx.senders)
            to_weight = (rate * (slope - mean)).sum(ctx.heads, keepdim=True)
        return to_scores, to_weight, None, None


def _alone(weight: Tensor, senders: int) -> Tensor:
    return weight.amax(senders, keepdim=True) == 0


def _rate(scores: Tensor, weight: Tensor, senders: int) -> Tensor:
    """The share that an edge has for each unit of its weight; of dead edges, what it would be."""
    live = scores + weight.log()
    peak = scores.masked_fill(weight == 0, -torch.inf).amax(senders, keepdim=True)
    rate = (torch.minimum(scores, peak) - live.logsumexp(senders, keepdim=True)).exp()
    return rate.masked_fill(_alone(weight, senders), 1)


def _shares(scores: Tensor, edges: Edges, table: Table, *, senders: int, heads: int) -> Tensor:
    if table.weight is edges.weight:  # as connected: nobody has changed or learns them
        return (scores + table.logs).softmax(senders)
    return share(scores, tabulate(edges.weight, table.neighbours), senders=senders, heads=heads)


def _one(shares: Tensor, heads: int) -> Tensor:
    """The mean over heads."""
    return shares.mean(heads) if shares.shape[heads] > 1 else shares.squeeze(heads)
