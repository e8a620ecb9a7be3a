"""The differentiable neural computer (Graves et al. 2016).

core.py         `DNC`, with the three improvements of Csordas and Schmidhuber 2019
interface.py    the interface vector: what the controller emits to the memory
addressing.py   content addressing, allocation, temporal links
fused_step.py   one step of the memory as one function, with the backward pass written out
"""
