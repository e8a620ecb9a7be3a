"""Learning from recorded episodes: `badger train offline --data data.h5`.

- `badger.recipes.recordings.recipe`: the recipe `offline`.
- `badger.recipes.recordings.data_flags`: `DataFlags`, which episodes are learned from, and in which task.
"""
