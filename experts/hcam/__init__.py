"""Hierarchical chunk attention: an episode is kept in chunks, and a read chooses chunks first and steps within them.

- `experts.hcam.core`: `HCAM`, this memory beside any recurrent controller.
- `experts.hcam.attention`: attention to chunks, and to the steps within them.
- `experts.hcam.chunks`: which steps of a sequence are a chunk, and which chunks each step may read.

```python
from functools import partial
import torch
from experts.hcam.core import HCAM
from experts.recurrent.gru import GRU

core = HCAM(3, partial(GRU, hidden_size=8), slots=4, chunk_size=2, top_k=2)  # 4 chunks of 2 steps, of which 2 are read
xs = torch.randn(6, 2, 1, 3)  # 6 steps, 2 episodes, 1 member, 3 inputs
ys, state = core.unroll(xs, core.initial_state(xs[0]))
assert core.read_weights(state).shape == (2, 1, 8)  # the weight of each step of each chunk
```
"""
