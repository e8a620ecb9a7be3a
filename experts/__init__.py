"""Recurrent cores and memories: the network of one expert, which all experts of an agent share.

A core maps `(x, state) -> (y, state)`. Its state is a value: it is passed in and returned, and never kept on `self`.

- `experts.core`: the base class `Core`, and `Private`, which gives each member of a batch a store of its own.
- `experts.recurrent`: GRU, LSTM, a core without memory as the control, and AMRL.
- `experts.episodic`: memories that store a row at each step and read the rows most similar to a query.
- `experts.fast_weights`: memories that are written by changing weights: a neural memory, plastic connections.
- `experts.dnc`: the differentiable neural computer. `experts.attention`: windows, GTrXL, a look-up table.
- `experts.auxiliary`: auxiliary losses around any core.
- `experts.unrolled`: any core as a drop-in for `nn.GRU`. `experts.state`: functions on states.
- `experts.memory_metrics`: slots used, duplicate rows, entropy of read weights.

`CORES` has every core by name. A core of your own is one file with a `Core`, and a line in `CORES`.

```python
from functools import partial
import torch
from experts import GRU, EpisodicMemory, Private

core = Private(EpisodicMemory(3, partial(GRU, hidden_size=8), slots=16, top_k=4))
x = torch.randn(2, 5, 3)  # 2 episodes, 5 experts, 3 inputs
state = core.initial_state(x)
y, state = core(x, state)
assert y.shape == (2, 5, 8)
```
"""

from collections.abc import Callable
from functools import partial
from typing import Literal

from experts import state
from experts.attention.gtrxl import GTrXL
from experts.attention.lookup_table import LookupTable
from experts.attention.window import Window
from experts.auxiliary.contrastive_predictive import CPC
from experts.auxiliary.reconstruction import Reconstruction
from experts.core import Core, Private
from experts.dnc.core import DNC
from experts.episodic.both import private_and_shared
from experts.episodic.clustered import ClusteredMemory
from experts.episodic.memory import EpisodicMemory
from experts.episodic.row_log import RowLog
from experts.episodic.tagged import TaggedMemory
from experts.episodic.top_k_read import TopKAttention
from experts.fast_weights.neural_memory import NeuralMemory
from experts.fast_weights.plastic import Plastic
from experts.recurrent.amrl import AMRL
from experts.recurrent.feedforward import Feedforward
from experts.recurrent.gru import GRU
from experts.recurrent.lstm import LSTM
from experts.state import State
from experts.unrolled import Unrolled


def _private(input_size: int, hidden_size: int) -> Core:
    return Private(EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size)))


def _shared(input_size: int, hidden_size: int) -> Core:
    return EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=1024)


def _tagged(input_size: int, hidden_size: int) -> Core:
    memory = EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=1024)
    return TaggedMemory(memory, tags=8, gate=True)


def _both(input_size: int, hidden_size: int) -> Core:
    return private_and_shared(input_size, partial(GRU, hidden_size=hidden_size))


def _clustered(input_size: int, hidden_size: int) -> Core:
    return Private(ClusteredMemory(input_size, partial(GRU, hidden_size=hidden_size)))


def _dnc(input_size: int, hidden_size: int) -> Core:
    return Private(DNC(input_size, partial(LSTM, hidden_size=hidden_size), slots=16, slot_size=16, heads=2))


def _predictive(input_size: int, hidden_size: int) -> Core:
    return CPC(_private(input_size, hidden_size))


def _reconstructing(input_size: int, hidden_size: int) -> Core:
    return Reconstruction(_private(input_size, hidden_size))


def _neural(input_size: int, hidden_size: int, rule: Literal["local", "gradient"] = "local") -> Core:
    memory = NeuralMemory(input_size, partial(LSTM, hidden_size=hidden_size), width=hidden_size, rule=rule)
    return Private(memory)


def _lookup_table(input_size: int, hidden_size: int) -> Core:
    return Private(LookupTable(input_size, partial(LSTM, hidden_size=hidden_size), key_size=16, value_size=16))


def _amrl(input_size: int, hidden_size: int) -> Core:
    return AMRL(input_size, partial(LSTM, hidden_size=hidden_size))


def _window(input_size: int, hidden_size: int) -> Core:
    return Window(input_size, partial(Feedforward, hidden_size=hidden_size), slots=16)


CORES: dict[str, Callable[[int, int], Core]] = {
    "gru": GRU,
    "lstm": LSTM,
    "episodic": _private,
    "episodic_shared": _shared,
    "clustered": _clustered,
    "dnc": _dnc,
    "episodic_both": _both,
    "episodic_cpc": _predictive,
    "episodic_reconstruction": _reconstructing,
    "episodic_tagged": _tagged,
    "neural_memory": _neural,
    "neural_memory_gradient": partial(_neural, rule="gradient"),
    "lookup_table": _lookup_table,
    "feedforward": Feedforward,
    "amrl": _amrl,
    "gtrxl": partial(GTrXL, memory=16),
    "window": _window,
    "plastic": Plastic,
    "plastic_modulated": partial(Plastic, rule="hebb", modulated=True),
}
"""Cores by name, each a factory (input_size, hidden_size) -> Core."""

__all__ = [
    "AMRL",
    "CORES",
    "CPC",
    "DNC",
    "GRU",
    "LSTM",
    "ClusteredMemory",
    "Core",
    "EpisodicMemory",
    "Feedforward",
    "GTrXL",
    "LookupTable",
    "NeuralMemory",
    "Plastic",
    "Private",
    "Reconstruction",
    "RowLog",
    "State",
    "TaggedMemory",
    "TopKAttention",
    "Unrolled",
    "Window",
    "state",
]
