"""Commands about recorded episodes.

- `badger.cli.episodes.record`: `badger record`.
"""
