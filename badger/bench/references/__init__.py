"""What ours is measured against: each computes the same thing as a good engineer would without this library."""

from badger.bench.references.attention_2019 import AttentionAgent, Training, broadcast_multiply, matrix_products
from badger.bench.references.loop import DenseAttention, LoopExperts
from badger.bench.references.maze_training import MazeTraining, a2c_loss
from badger.bench.references.mazes import ManyMazes, OneMaze
from badger.bench.references.plain_dnc import PlainDNC
from badger.bench.references.plain_neural import PlainNeural
from badger.bench.references.plastic import PlasticNetwork
from badger.bench.references.ring import DenseRing, dense_read, selected_read

__all__ = [
    "AttentionAgent",
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
