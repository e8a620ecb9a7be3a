"""Reference implementations for the benchmarks: the same computations, written without this library.

- `badger.bench.references.ring`: an episodic memory as a dense ring buffer.
- `badger.bench.references.plain_dnc`, `badger.bench.references.plain_neural`, `badger.bench.references.plastic`: a DNC,
  a neural memory and a plastic network, written directly from their equations.
- `badger.bench.references.dense_access`: sparse access memory with all slots in each operation.
- `badger.bench.references.loop`: experts in a Python loop, and attention over all pairs.
- `badger.bench.references.attention_2019`: the attention agent of Rosa et al. 2019, from its description.
- `badger.bench.references.maze_training`, `badger.bench.references.mazes`: A2C in mazes.
- `badger.bench.references.single_envs`: tasks as single environments in plain Python.
- `badger.bench.references.env_loops`: random actions in environments of Gymnasium and PettingZoo.
- `badger.bench.references.recurrent_ppo`: sb3-contrib's RecurrentPPO.
"""

from badger.bench.references.attention_2019 import AttentionAgent, Training, broadcast_multiply, matrix_products
from badger.bench.references.dense_access import DenseAccess
from badger.bench.references.loop import DenseAttention, LoopExperts
from badger.bench.references.maze_training import MazeTraining, a2c_loss
from badger.bench.references.mazes import ManyMazes, OneMaze
from badger.bench.references.plain_dnc import PlainDNC
from badger.bench.references.plain_neural import PlainNeural
from badger.bench.references.plastic import PlasticNetwork
from badger.bench.references.ring import DenseRing, dense_read, selected_read

__all__ = [
    "AttentionAgent",
    "DenseAccess",
    "DenseAttention",
    "DenseRing",
    "LoopExperts",
    "ManyMazes",
    "MazeTraining",
    "OneMaze",
    "PlainDNC",
    "PlainNeural",
    "PlasticNetwork",
    "Training",
    "a2c_loss",
    "broadcast_multiply",
    "dense_read",
    "matrix_products",
    "selected_read",
]
