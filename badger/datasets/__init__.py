"""Recorded episodes: values that agents lived, kept in a file and learned from.

- `badger.datasets.episodes`: `Episodes`, some episodes as tensors, and `EpisodeDataset`, all of them, in memory or in a
  file.
"""

from badger.datasets.episodes import EpisodeDataset, Episodes

__all__ = ["EpisodeDataset", "Episodes"]
