"""Sparse access to a large memory: few slots are read and written in a step (Rae et al. 2016).

- `experts.sparse.sam`: `SAM`, with any controller. Start here. `experts.sparse.sdnc`: `SDNC`, which also reads along
  the order of writes.
- `experts.sparse.slots`: `Slots`, the memory as a value: a persistent array, whose old states can be restored.
- `experts.sparse.arrays`: changes of few slots, in place or in copies. `experts.sparse.autograd`: backward passes.
- `experts.sparse.links`: temporal links. `experts.sparse.heads`: weights of the few slots that a head reads.
- `experts.sparse.search`: exact search in large arrays. `experts.sparse.approximate`: by lists that follow the writes;
  `experts.sparse.inverted_file`: such lists, by the optional library faiss.

```python
from functools import partial
import torch
from experts import LSTM, SAM, Private

core = Private(SAM(3, partial(LSTM, hidden_size=8), slots=64, slot_size=6))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
y, state = core(x, core.initial_state(x))
assert y.shape[:2] == (2, 5)
```
"""
