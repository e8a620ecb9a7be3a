"""The differentiable neural computer: slots with content, usage and temporal links (Graves et al. 2016).

- `experts.dnc.core`: `DNC`, with any controller, and the options masking, deallocation and sharpness of Csordas and
  Schmidhuber 2019. Start here.
- `experts.dnc.interface`: the interface vector: its parts, their sizes and their activations.
- `experts.dnc.addressing`: addressing by content, by free slots and along temporal links, each with its gradient.
- `experts.dnc.fused_step`: one write and read as one autograd function, with the backward pass written by hand.

A DNC is written for N members of one store; `Private` gives each member a store of its own.

```python
from functools import partial
import torch
from experts import DNC, LSTM, Private

core = Private(DNC(3, partial(LSTM, hidden_size=8), slots=4, slot_size=6, heads=2))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
y, state = core(x, core.initial_state(x))
assert y.shape[:2] == (2, 5)
```
"""
