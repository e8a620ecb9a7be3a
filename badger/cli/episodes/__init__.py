"""Commands about recorded episodes.

- `badger.cli.episodes.record`: `badger record`.
- `badger.cli.episodes.inspect_data`: `badger inspect` of a data set.
"""
