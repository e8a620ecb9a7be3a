"""The neural Turing machine: slots addressed by content and by location (Graves et al. 2014).

- `experts.ntm.core`: `NTM`, with any controller. Start here.
- `experts.ntm.addressing`: the weights of a head: content, interpolation with the previous weights, shift, sharpening.
  Content weights and sharpening are those of `experts.dnc.addressing`.

An NTM is written for N members of one memory; `Private` gives each member a memory of its own.

```python
from functools import partial
import torch
from experts import LSTM, NTM, Private

core = Private(NTM(3, partial(LSTM, hidden_size=8), slots=4, slot_size=6))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
y, state = core(x, core.initial_state(x))
assert y.shape[:2] == (2, 5)
```
"""
