"""Data sets: files from a local folder or a mirror, and the images of MNIST.

- `tasks.data.download`: searches the given folder, then `$BADGER_DATA`, then downloads from one of several mirrors and
  verifies checksums (`pip install 'badger-agents[data]'`).
- `tasks.data.mnist`: images and labels of MNIST, or of a data set in the same format, split into train, validation,
  test.
- `tasks.data.idx`: the file format of MNIST.

```python
from pathlib import Path
from tasks.data import idx

header = bytes([0, 0, 8, 2, 0, 0, 0, 2, 0, 0, 0, 3])  # bytes, 2 axes, 2 x 3
Path("images").write_bytes(header + bytes(range(6)))
assert idx.read(Path("images")).tolist() == [[0, 1, 2], [3, 4, 5]]
```
"""
