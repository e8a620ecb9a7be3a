"""Attention over past inputs, as recurrent cores.

window.py           `Window`: soft attention over the last inputs (Oh et al. 2016)
sliding_window.py   attention of each step of a sequence to the steps before it, all at once
gtrxl.py            `GTrXL`: a gated transformer with a memory of each layer's inputs (Parisotto et al. 2019)
gtrxl_layer.py      one of its layers
lookup_table.py     `LookupTable`: a table of all steps read by soft attention (Munkhdalai et al. 2019, SALU)
"""
