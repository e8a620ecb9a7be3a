"""Recurrent cores without an external memory.

gru.py           `GRU`, in plain tensor operations
lstm.py          `LSTM`, likewise
cell.py          what gated cells have in common: unrolling, resets
packing.py       sequences cut at resets and packed, for torch's own recurrent functions
amrl.py          `AMRL`: the outputs of a core aggregated over the episode (Beck et al. 2020)
feedforward.py   `Feedforward`: no memory, the control for all others
"""
