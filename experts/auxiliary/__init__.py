"""Auxiliary losses around any core: of predictions of the next inputs, and of reconstruction of the present one.

Each is a core that wraps another one. It leaves outputs unchanged and returns its loss from `Core.losses`, which every
learner adds to its own loss with the weight of its argument `auxiliary`.

- `experts.auxiliary.reconstruction`: the output must allow a linear decoder to reconstruct the present input.
- `experts.auxiliary.contrastive_predictive`: the output must tell the next inputs from those of other episodes.
- `experts.auxiliary.predictive_decoder`: the output must allow a linear decoder to predict the next inputs.
- `experts.auxiliary.wrapper`: the base class of all three.

```python
import torch
from experts.auxiliary.reconstruction import Reconstruction
from experts.recurrent.gru import GRU

core = Reconstruction(GRU(3, hidden_size=8))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
y, state = core(x, core.initial_state(x))
assert core.losses(state)["reconstruction"].shape == (2,)
```
"""
