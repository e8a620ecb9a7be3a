"""Episodic memories: one row is written at each step of an episode and stays; reads are by similarity.

memory.py             `EpisodicMemory` around any recurrent core; start here
row_log.py            `Log`, the store: a sliding window over an append-only log of rows
row_log_autograd.py   the autograd functions through which a gradient passes that store
top_k_read.py         similarity, the top k rows, their weights and the read, with their gradients
fused_step.py         whole steps of a memory around a gated cell, with the backward pass written out
clustered.py          `ClusteredMemory`: similar rows are merged online
tagged.py             `Shared`: one store for several members, with tags, a read gate and fewer writers
both.py               `both`: a private memory beside a shared one
"""
