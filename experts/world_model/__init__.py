"""World models: cores that predict what they will observe, and go on without observations.

- `experts.world_model.base`: `WorldModel`, the interface that imagination needs. Start here to write one.
- `experts.world_model.rssm`: `RSSM`, the recurrent state-space model of PlaNet and Dreamer.
- `experts.world_model.mdn_rnn`: `MDNRNN`, a VAE and an LSTM, the world model of World Models.
- `experts.world_model.mixture`: `MixtureDensity`, by which it predicts.
- `experts.world_model.latents`: latent states, normal numbers or choices.
- `experts.world_model.networks`: small networks, and symlog.

```python
import torch
from experts.trajectory.layout import StepLayout
from experts.world_model import RSSM

core = RSSM(5, 16, layout=StepLayout(obs=2, choices=(2,)))  # 2 numbers, the last push (left, right), the last reward
x = torch.randn(4, 1, 5)  # 4 episodes, 1 member
y, state = core(x, core.initial_state(x))
state = core.imagine(torch.tensor([0.0, 1.0]).expand(4, 1, 2), state)  # what a push to the right leads to
assert core.predict(core.features(state)).shape == (4, 1, 2)
```
"""

from experts.world_model.base import WorldModel
from experts.world_model.mdn_rnn import MDNRNN, MDNRNNState
from experts.world_model.rssm import RSSM, RSSMState

__all__ = ["MDNRNN", "RSSM", "MDNRNNState", "RSSMState", "WorldModel"]
