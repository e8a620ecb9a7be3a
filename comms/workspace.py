"""A shared global workspace: experts compete to write into a few slots, which all experts read."""

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.nn.functional import pad

from comms.bus import Bus, Delivery, State
from comms.sharding import Shard
from comms.topology import Edges, max_edge_weights


class Workspace(Bus):
    """A global workspace of S slots: limited bandwidth, and a cost linear in the number of experts.

    In a round each slot s attends to the writers; each reader then attends to the updated slots:

        write_si ~ out_i exp(q_s . k_i / sqrt(key_size)),    new_s = tanh(sum_i write_si v_i)
        slot_s  += gate_s (new_s - slot_s),                  gate_s = sigmoid(linear[slot_s, new_s])
        read_js  ~ exp(q_j . k_s / sqrt(key_size)),          inbox_j = sum_s read_js slot_s

    out_i is the largest weight of expert i's outgoing edges. Slots start at zero; q_s and k_s are computed from the
    slot plus a learned embedding that distinguishes the slots.

    **The topology is ignored**, except that an expert without an active outgoing edge (silenced, absent) does not
    write, and one without an active incoming edge does not read and receives zeros. A reader therefore also receives
    from experts without an edge to it, and the slots keep what silenced experts wrote earlier.

    The weights of the delivery attribute each receiver's read to its senders' writes of this round: for each active
    edge, that sender's fraction of what all its senders contributed; they carry no gradient. Cost: each writer sends
    its key and value to the workspace, and each slot its key and content to every reader: writers + S readers messages
    of key_size + message_size floats.

    Args:
        input_size: Y, outputs of an expert.
        message_size: M, size of a slot and of the inbox.
        slots: S.
        key_size: size of queries and keys.
        top_k: only the experts with the `top_k` highest scores for a slot (and ties with the last of them) write into
            it; None: all.

    Raises:
        ValueError: a size below 1.

    Source: Goyal et al. 2022, "Coordination among neural modules through a shared global workspace"
        (arXiv:2103.01197), with one gate in the place of their two.
    """

    def __init__(
        self, input_size: int, message_size: int, *, slots: int = 8, key_size: int = 16, top_k: int | None = None
    ) -> None:
        super().__init__()
        for name, size in {"message_size": message_size, "slots": slots, "key_size": key_size, "top_k": top_k}.items():
            if size is not None and size < 1:
                raise ValueError(f"{name}={size}, want at least 1" + (", or None for all" if name == "top_k" else ""))
        self.input_size, self.message_size = input_size, message_size
        self.key_size, self.top_k = key_size, top_k
        self.sizes = [key_size, key_size, message_size]
        self.query_key_value = nn.Linear(input_size, sum(self.sizes))  # of experts: read query, write key, value
        self.slot_embedding = nn.Parameter(torch.randn(slots, message_size))
        self.query = nn.Linear(message_size, key_size, bias=False)  # of slots, for writing
        self.key = nn.Linear(message_size, key_size, bias=False)  # of slots, for reading
        self.gate = nn.Linear(2 * message_size, message_size)

    def initial_state(self, y: Float[Tensor, "B E Y"]) -> Float[Tensor, "B S M"]:
        """Slots of zeros."""
        return y.new_zeros(y.shape[0], *self.slot_embedding.shape)

    def forward(
        self,
        y: Float[Tensor, "B E Y"],
        edges: Edges,
        state: State,
        rng: torch.Generator | None,
        shard: Shard | None = None,
    ) -> tuple[Delivery, State]:
        """One round: all experts write, then all experts read."""
        assert isinstance(state, Tensor)
        outgoing, incoming = max_edge_weights(edges, y.shape[1])
        own = y.shape[1] if shard is None else shard.size
        if shard is not None:
            outgoing, incoming = shard.outgoing.to(y).expand_as(outgoing), incoming[:, :own]
        query, key, value = self.query_key_value(y).split(self.sizes, dim=-1)
        write, total = self._write_weights(self.query(state + self.slot_embedding) @ key.mT, outgoing, shard)
        written = write[..., :own] @ value[:, :own]  # (B, S, M)
        new = (written if shard is None else shard.sum(written)).tanh()
        gate = self.gate(torch.cat([state, new], -1)).sigmoid()
        slots = torch.where(total.ne(0), state + gate * (new - state), state)
        scores = query[:, :own] @ self.key(slots + self.slot_embedding).mT  # (B, E, S)
        read = (scores * self.key_size**-0.5).softmax(-1) * incoming.ne(0).unsqueeze(-1)
        weights = _edge_credit(read.detach(), write.detach(), edges)
        writers, readers = outgoing[:, :own].count_nonzero(-1), incoming.count_nonzero(-1)
        messages = (writers + len(self.slot_embedding) * readers).to(y.dtype)
        return Delivery(read @ slots, weights, messages, messages * (self.key_size + self.message_size)), slots

    def _write_weights(self, scores: Tensor, outgoing: Tensor, shard: Shard | None) -> tuple[Tensor, Tensor]:
        """Attention weights of the writers for each slot, (B, S, E), and their sum before they are normalized.

        Both are 0 where no expert writes.
        """
        out_weight = outgoing.unsqueeze(1)  # (B, 1, E)
        scores = scores * self.key_size**-0.5
        active = scores.detach().masked_fill(out_weight == 0, -torch.inf)
        peak, own = active.amax(-1, keepdim=True), scores.shape[-1]
        if shard is not None:
            peak, own = shard.max(peak), shard.size
        excess = scores - peak  # of an absent writer it may be above 0; no writers: inf
        exp_scores = excess.masked_fill(excess > 0, 0).exp()  # clamp's gradient at 0 depends on the version of torch
        if self.top_k is not None and self.top_k < (own if shard is None else shard.experts.total):
            exp_scores = exp_scores.masked_fill(active < self._lowest_of_best(active[..., :own], shard), 0)
        total = (exp_scores * out_weight)[..., :own].sum(-1, keepdim=True)
        total = total if shard is None else shard.sum(total)
        return exp_scores * out_weight * total.masked_fill(total == 0, 1).reciprocal(), total

    def _lowest_of_best(self, active: Tensor, shard: Shard | None) -> Tensor:
        """The `top_k`-th highest score of a slot's writers, in all processes."""
        assert self.top_k is not None
        best = active.topk(min(self.top_k, active.shape[-1])).values
        if shard is not None:
            missing = self.top_k - best.shape[-1]
            best = shard.gather(pad(best, (0, missing), value=-torch.inf)).topk(self.top_k).values
        return best[..., -1:]

    def select_members(self, state: State, index: Int[Tensor, " E"], y: Float[Tensor, "B E Y"]) -> State:
        """The state unchanged: slots belong to no expert."""
        return state


def _edge_credit(read: Tensor, write: Tensor, edges: Edges) -> Float[Tensor, "B K"]:
    """Each active edge's fraction of its receiver's read, over its senders; read (B, E, S), write (B, S, E)."""
    senders, receivers, weight = edges[:3]
    credit = torch.zeros_like(weight)
    for slot_read, slot_write in zip(read.unbind(-1), write.unbind(1), strict=True):  # no tensor of size K S
        credit = credit + slot_read.gather(1, receivers) * slot_write.gather(1, senders)
    credit = credit.masked_fill(weight == 0, 0)
    total = torch.zeros_like(read[..., 0]).scatter_add(1, receivers, credit)
    return credit / total.masked_fill(total == 0, 1).gather(1, receivers)
