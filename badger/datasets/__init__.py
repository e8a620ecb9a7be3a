"""Recorded episodes: values that agents lived, kept in a file and learned from.

- `badger.datasets.sources`: `Episodes`, some episodes as tensors, and `EpisodeSource`, where a data set keeps them.
- `badger.datasets.episodes`: `EpisodeDataset`, all of them, in memory or in a file, which is read by windows.
- `badger.datasets.episode_file`: the format of the file, and its reader. `badger.datasets.episode_writer`: its writer,
  batch by batch. `badger.datasets.hdf5`: access to HDF5. `badger.datasets.spaces`: action spaces as JSON.
- `badger.datasets.writer`: `Writer`, the base of writers. `badger.datasets.formats`: readers and writers by name.
- `badger.datasets.minari`: data sets of Minari.
- `badger.datasets.checks`: checks of each step. `badger.datasets.from_rollout`: the episodes of a rollout.
- `badger.datasets.statistics`: lengths, returns, actions and ends.

`badger.evaluation.data_collection.record_episodes`, and `badger record`, record an agent.

```python
import os, tempfile, torch
from badger.datasets import EpisodeDataset, Episodes
from tasks import Discrete

length = torch.tensor([2, 3])  # two episodes, padded to three steps
end = torch.arange(3) == length.unsqueeze(1) - 1
zeros = torch.zeros(2, 3)
episodes = Episodes(torch.zeros(2, 4, 5), zeros.long(), zeros, end, end & False, length)
data = EpisodeDataset.from_episodes(episodes, Discrete(4), task="mine")
with tempfile.TemporaryDirectory() as folder:
    data.save(os.path.join(folder, "data.h5"))
    data = EpisodeDataset.load(os.path.join(folder, "data.h5"))
    data.check()
    assert data.windows(torch.tensor([1]), torch.tensor([2]), steps=4).length.tolist() == [1]
```
"""

from badger.datasets.episode_writer import EpisodeWriter
from badger.datasets.episodes import EpisodeDataset, Episodes

__all__ = ["EpisodeDataset", "EpisodeWriter", "Episodes"]
