"""Recurrent cores without an external memory: GRU, LSTM, a feed-forward control, and AMRL.

- `experts.recurrent.gru` and `experts.recurrent.lstm`: gated cells in plain tensor operations, so that they work under
  `torch.func.vmap`, `torch.compile` and a fold of members into the batch.
- `experts.recurrent.cell`: the base class of gated cells. A new cell gets the fast paths of the memories from it.
- `experts.recurrent.gru_step`, `experts.recurrent.gru_sequence`: a GRU's step, and sequences of few rows, by kernels.
- `experts.recurrent.feedforward`: cores without memory: the control with which a memory is compared, a linear map.
- `experts.recurrent.amrl`: an LSTM whose outputs are aggregated over the episode by a maximum, mean or sum.
- `experts.recurrent.packing`: sequences cut at resets and packed side by side, for fast unrolls.

```python
import torch
from experts.recurrent.gru import GRU

gru = GRU(3, hidden_size=8)
xs = torch.randn(6, 2, 1, 3)  # 6 steps, 2 episodes, 1 member, 3 inputs
ys, state = gru.unroll(xs, gru.initial_state(xs[0]))
assert ys.shape == (6, 2, 1, 8)
```
"""
