"""The experts of one agent, spread over several processes.

- `comms.sharding.graph_partition`: cuts a topology into parts with few crossing edges.
- `comms.sharding.shard`: `Shard`, the part of one process: its experts, its edges, and what it sends and receives.
- `comms.sharding.draws`: random numbers of some experts or edges, the same as where all are in one process.

An edge belongs to the process of its receiver. The output of an expert is sent once to each process in which it has a
receiver, whatever the number of its edges there: messages, gates and keys are functions of it, so that one exchange in
a round serves every bus. What a bus pools over all experts (`comms.workspace`) is summed over the processes.

This package only says what goes where; `badger.sharding` sends it.

```python
import numpy as np

from comms import edge_list
from comms.sharding import make_shard, partition

rows = edge_list("ring", 6)
process = partition(rows, 6, 2)
assert process.tolist() == [0, 0, 0, 1, 1, 1]
shard = make_shard([rows], process, rank=0)
assert shard.experts.chosen.tolist() == [0, 1, 2, 3, 5]  # its own three, and two that are heard
assert shard.send.tolist() == [0, 2] and shard.send_counts == [0, 2]
```
"""

from comms.sharding.draws import Rows, draw
from comms.sharding.graph_partition import crossing_edges, partition
from comms.sharding.shard import Shard, make_shard

__all__ = ["Rows", "Shard", "crossing_edges", "draw", "make_shard", "partition"]
