"""Episodic memory: a row is stored at each step, and the rows most similar to a query are read.

- `experts.episodic.memory`: `EpisodicMemory`, a store beside any recurrent controller. Start here.
- `experts.episodic.clustered`: rows that are similar are merged, so that the slots hold different things.
- `experts.episodic.tagged`: a store that all experts share, with writer tags, a read gate and a choice of writers.
- `experts.episodic.both`: a private memory beside a shared one.
- `experts.episodic.top_k_read`: similarities, the search for the best rows, and the weights of the read.
- `experts.episodic.row_log`: the storage. A ring buffer of `slots` rows is a window over an append-only log, so that no
  step clones the buffer. `experts.episodic.row_log_autograd` carries its gradients.
- `experts.episodic.fused_step`: several steps around a gated cell with a backward pass written by hand.
- `experts.episodic.kernel_step`: the same around a GRU by kernels in C (`experts.kernels`), where these were built;
  `experts.episodic.kernel_arguments` has the struct that they take.

```python
from functools import partial
import torch
from experts.episodic.memory import EpisodicMemory
from experts.recurrent.gru import GRU

memory = EpisodicMemory(3, partial(GRU, hidden_size=8), slots=16, top_k=4)
xs = torch.randn(6, 2, 1, 3)  # 6 steps, 2 episodes, 1 member, 3 inputs
ys, state = memory.unroll(xs, memory.initial_state(xs[0]))
assert memory.read_weights(state).shape == (2, 1, 16)  # the weight of each slot in the last read
```
"""
