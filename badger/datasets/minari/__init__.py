"""Data sets of Minari, a folder of metadata and one HDF5 file, of one agent.

- `badger.datasets.minari.reader`: `MinariFolder`, its episodes. `badger.datasets.minari.writer`: `MinariWriter`.
- `badger.datasets.minari.spaces`: observation spaces in the metadata. `badger.datasets.minari.actions`: action spaces.
"""
