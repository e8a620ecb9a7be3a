"""One agent over several processes: each holds some of the experts, with their states and memories.

- `badger.sharding.agent`: `shard_experts`, an agent whose state holds the experts of this process alone.
- `badger.sharding.checks`: which agents can be spread over processes, and why others cannot.
- `badger.sharding.collectives`: sums over processes and exchanged outputs, with their derivatives.

All processes have the same episodes and the same random numbers, and compute the same actions and rewards. In a round
an expert's output goes once to each process in which it has a receiver: one all_to_all, forward and backward. The
output head sums over the experts by an all_reduce. Derivatives are those of the sum of all processes' losses, and the
learner's mean over processes makes them those of one loss: gradients equal those of one process.

`comms.sharding` says which expert is where; this package sends.
"""

from badger.sharding.agent import shard_experts
from badger.sharding.checks import check_shardable

__all__ = ["check_shardable", "shard_experts"]
