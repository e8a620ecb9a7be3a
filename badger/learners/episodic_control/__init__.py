"""Episodic control: learners that remember the returns of single episodes in a store that outlives them.

- `badger.learners.episodic_control.store`: `EpisodicStore`, keys and values of each action: `write`, `query`, `lookup`.
  `table`: the rows of one action. `nearest`: exact neighbors; `hnsw`: approximate ones, by the optional hnswlib.
- `badger.learners.episodic_control.mfec`: `MFEC`, the best return of each observation and action, without gradients.
- `badger.learners.episodic_control.nec`: `NEC`, a dictionary whose keys a network learns.
- `badger.learners.episodic_control.emdqn`: `EMDQN`, DQN that is drawn to the best returns.
- Their parts: `control`, the base of MFEC and NEC; `episodes`, whole episodes of running rollouts; `keys`, a fixed
  random projection; `readout`, the output head by which an agent acts from a store; `ties`; `step_replay`.

The store of MFEC and NEC is part of the agent, as its output head: a loaded agent acts and is evaluated as any other.
The learner alone writes to it. That of EMDQN is a part of the loss, and the agent acts without it.

```python
import torch

from badger.learners.episodic_control import EpisodicStore

store = EpisodicStore(actions=2, key_size=3)
key, action = torch.eye(3), torch.tensor([0, 0, 1])
store.write(key, action, torch.tensor([0.5, 1.0, 2.0]))
store.write(key[:1], action[:1], torch.tensor([3.0]))  # a repeat: its row has the larger return
assert store.counts == [2, 1]
assert store.query(key[:1], action=0, k=5).values.tolist() == [[3.0, 1.0]]  # all rows, where there are fewer than k
```
"""

from badger.learners.episodic_control.store import EpisodicStore
from badger.learners.episodic_control.table import MovingAverage, Neighbors

__all__ = ["EpisodicStore", "MovingAverage", "Neighbors"]
