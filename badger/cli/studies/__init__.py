"""Commands about studies.

- `badger.cli.studies.study`: `badger study` and `badger compare`.
- `badger.cli.studies.reproduce`: `badger study reproduce`, published results and ours.
- `badger.cli.studies.resumable`: says how a study that was stopped is resumed.
"""
