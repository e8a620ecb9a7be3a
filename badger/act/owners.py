"""Output heads in which each expert makes one output.

Shapes as in `badger.act`.
"""

from math import pi

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from badger.act.base import Act
from comms.sharding import Rows, Shard


class OwnedOutputs(Act):
    """Base class: every expert makes one output, and an output is the mean over its owners.

    The assignment (B, D, E) holds the weights of the owners, which sum to 1 over E; a head may keep more behind them.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D.
    """

    def __init__(self, input_size: int, outputs: int):
        super().__init__()
        self.input_size, self.outputs = input_size, outputs
        self.linear = nn.Linear(input_size, 1)

    def forward(
        self, y: Float[Tensor, "B E Y"], assignment: Tensor | None, present: Bool[Tensor, "B E"] | None
    ) -> Float[Tensor, "B D"]:
        assert assignment is not None
        return _owner_mean(assignment[..., : y.shape[1]], self.linear(y), present)

    def forward_sharded(
        self, y: Float[Tensor, "B N Y"], assignment: Tensor | None, shard: Shard
    ) -> Float[Tensor, "B D"]:
        return shard.sum(self(y, assignment, None))

    def select_experts(self, assignment: Tensor | None, rows: Rows) -> Tensor:
        assert assignment is not None
        weights, rest = assignment.tensor_split([rows.total], -1)
        return torch.cat([weights.index_select(2, rows.chosen), rest], -1)


class RoundRobin(OwnedOutputs):
    """Expert i makes output i mod D; outputs of the same index are averaged. E must be a multiple of D."""

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts % outputs:
            raise ValueError(
                f"experts={experts}, want a multiple of outputs={outputs}: act.RoundRobin gives every output the same "
                "number of experts; act.RandomOwners needs at least one each, act.Mean and act.Readout any number"
            )
        owned = torch.arange(experts, device=like.device) % outputs
        return _owner_weights(owned.expand(like.shape[0], -1), outputs, like)

    def extend_assignment(self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert assignment is not None
        return self.make_assignment(like, experts, assignment.shape[1], rng)


class RandomOwners(OwnedOutputs):
    """Every expert makes one output, assigned at random in each episode.

    Every output has E // D owners or one more. D and E can change after training, as long as E >= D.
    """

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        if experts < outputs:
            raise ValueError(
                f"experts={experts}, want at least outputs={outputs}: act.RandomOwners gives every output an owner; "
                "act.Mean and act.Readout take any number of experts"
            )
        return _owner_weights(_permutations(like, experts, rng) % outputs, outputs, like)

    def extend_assignment(self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert assignment is not None
        batch, outputs, old_size = assignment.shape
        old = assignment.argmax(1)  # (B, E)
        new = torch.randint(outputs, (batch, experts - old_size), generator=rng, device=assignment.device)
        return _owner_weights(torch.cat([old, new], 1), outputs, like)


class NamedOutputs(OwnedOutputs):
    """Random owners that observe a name of their output: every expert makes one output, assigned in each episode.

    As in `RandomOwners`, but in each episode the D outputs also get D different names of NUM_NAMES, and an expert's
    identity holds the name of its output. Experts of the same output thereby share an input, and those of different
    outputs can tell each other apart, instead of inferring from errors whose outputs they affect. Names are positions
    on a line, encoded as sines and cosines of four frequencies; an agent trained with few of them at a time observes
    all of them over episodes, and can distinguish more outputs than in training. With more than NUM_NAMES outputs some
    share a name.

    Names are drawn without replacement, each next one with a probability of DECAY times that of the one before. Agents
    learn that the owners of an output try it at the time that its name says. Were all names as likely, the few outputs
    of most episodes would often have their turns at the end of it, when no time is left to use what was learned
    (notebooks/LOG.md).

    D and E can change after training. Where E < D, the outputs that have no owner are 0. The assignment is
    (B, D, E + name_size): the weights of the owners, and the name of the output.

    Args:
        input_size: Y, outputs of an expert.
        outputs: D.

    Source: sinusoidal codes as in Vaswani et al. 2017 (arXiv:1706.03762), section 3.5; weighted sampling of Efraimidis
    and Spirakis 2006, *Weighted random sampling with a reservoir*.
    """

    NUM_NAMES, DECAY, FREQUENCIES = 20, 0.8, (0.5, 1, 2, 4)
    name_size = 2 * len(FREQUENCIES)

    def make_assignment(self, like: Tensor, experts: int, outputs: int, rng: torch.Generator) -> Tensor:
        order = _permutations(like, experts, rng)
        place = torch.arange(experts, device=like.device)
        owners = like.new_zeros(like.shape[0], outputs, experts)
        owners[torch.arange(len(owners), device=like.device).unsqueeze(-1), place % outputs, order] = 1
        angle = self._names(like, outputs, rng).unsqueeze(-1) * (2 * pi / self.NUM_NAMES)
        angle = angle * like.new_tensor(self.FREQUENCIES)
        return torch.cat([_normalized(owners), angle.sin().to(like.dtype), angle.cos().to(like.dtype)], -1)

    def _names(self, like: Tensor, outputs: int, rng: torch.Generator) -> Tensor:
        """(B, D): a weighted sample of names, in any order."""
        name = torch.arange(max(self.NUM_NAMES, outputs), device=like.device) % self.NUM_NAMES
        uniform = torch.rand(like.shape[0], len(name), generator=rng, device=like.device)
        chosen = (uniform.log() / self.DECAY**name).argsort(-1, descending=True)[:, :outputs]
        return name[chosen].gather(1, _permutations(like, outputs, rng))

    def output_names(self, assignment: Tensor | None, experts: int) -> Tensor:
        assert assignment is not None
        weights, names = assignment.split([experts, self.name_size], -1)
        owned = (weights > 0).to(torch.uint8).argmax(1)  # (B, E)
        return names.gather(1, owned.unsqueeze(-1).expand(-1, -1, self.name_size))

    def extend_assignment(self, assignment: Tensor | None, like: Tensor, experts: int, rng: torch.Generator) -> Tensor:
        assert assignment is not None
        batch, outputs, width = assignment.shape
        old_size = width - self.name_size
        weights, names = assignment.split([old_size, self.name_size], -1)
        new = torch.randint(outputs, (batch, experts - old_size), generator=rng, device=assignment.device)
        owners = torch.cat([(weights > 0).to(like.dtype), _owner_one_hot(new, outputs, like)], -1)
        return torch.cat([_normalized(owners), names], -1)


def _owner_weights(owned: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) index of each expert's output -> (B, D, E) weights that sum to 1 over the owners of an output."""
    return _normalized(_owner_one_hot(owned, outputs, like))


def _normalized(owners: Tensor) -> Tensor:
    """(B, D, E), 1 for an owner -> weights that sum to 1 over the owners of an output; an output without one has 0."""
    return owners / owners.sum(-1, keepdim=True).clamp_min(1)


def _owner_one_hot(owned: Tensor, outputs: int, like: Tensor) -> Tensor:
    """(B, E) index of each expert's output -> (B, D, E), 1 where the expert owns the output."""
    return (owned.unsqueeze(1) == torch.arange(outputs, device=owned.device).unsqueeze(-1)).to(like.dtype)


def _permutations(like: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """A random permutation of `count` indices for each episode, (B, count)."""
    return torch.rand(like.shape[0], count, generator=rng, device=like.device).argsort(-1)


def _owner_mean(weights: Tensor, values: Tensor, present: Tensor | None) -> Tensor:
    """(B, D, E), (B, E, 1) -> (B, D), renormalized over the owners that are present."""
    if present is not None:
        weights = weights * present.unsqueeze(1)
        total = weights.sum(-1, keepdim=True)
        weights = weights / torch.where(total > 0, total, 1)
        values = torch.where(present.unsqueeze(-1), values, 0)
    return (weights @ values).squeeze(-1)
