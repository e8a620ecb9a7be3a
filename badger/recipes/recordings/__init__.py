"""Learning from recorded episodes: `badger train offline --data data.h5`.

- `badger.recipes.recordings.recipe`: the recipe `offline`.
- `badger.recipes.recordings.data_flags`: `DataFlags`, which episodes are learned from, and in which task.
- `badger.recipes.recordings.target_rewards`: `parse_rewards`, the rewards that an agent is asked for.
"""
