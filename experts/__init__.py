"""What one expert is: recurrent cores, memories, and the verbs of their states."""

from collections.abc import Callable
from functools import partial
from typing import Literal

from experts import state
from experts.amrl import AMRL
from experts.both import both
from experts.clustered import ClusteredMemory
from experts.core import Core, Private
from experts.dnc import DNC
from experts.episodic import EpisodicMemory
from experts.feedforward import Feedforward
from experts.gru import GRU
from experts.gtrxl import GTrXL
from experts.log import Log
from experts.lookup import LookupTable
from experts.lstm import LSTM
from experts.neural import NeuralMemory
from experts.plastic import Plastic
from experts.predictive import Predictive
from experts.recall import Attend
from experts.reconstruction import Reconstruction
from experts.shared import Shared
from experts.state import State
from experts.unrolled import Unrolled
from experts.window import Window


def _private(input_size: int, hidden_size: int) -> Core:
    return Private(EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size)))


def _shared(input_size: int, hidden_size: int) -> Core:
    return EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=1024)


def _tagged(input_size: int, hidden_size: int) -> Core:
    memory = EpisodicMemory(input_size, partial(GRU, hidden_size=hidden_size), slots=1024)
    return Shared(memory, tags=8, gate=True)


def _both(input_size: int, hidden_size: int) -> Core:
    return both(input_size, partial(GRU, hidden_size=hidden_size))


def _clustered(input_size: int, hidden_size: int) -> Core:
    return Private(ClusteredMemory(input_size, partial(GRU, hidden_size=hidden_size)))


def _dnc(input_size: int, hidden_size: int) -> Core:
    return Private(DNC(input_size, partial(LSTM, hidden_size=hidden_size), slots=16, slot_size=16, heads=2))


def _predictive(input_size: int, hidden_size: int) -> Core:
    return Predictive(_private(input_size, hidden_size))


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
    "DNC",
    "GRU",
    "LSTM",
    "Attend",
    "ClusteredMemory",
    "Core",
    "EpisodicMemory",
    "Feedforward",
    "GTrXL",
    "Log",
    "LookupTable",
    "NeuralMemory",
    "Plastic",
    "Predictive",
    "Private",
    "Reconstruction",
    "Shared",
    "State",
    "Unrolled",
    "Window",
    "state",
]
