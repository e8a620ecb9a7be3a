"""Benchmarks of what memories cost, core by core.

- `badger.bench.cases.memory_costs.lengths`: a few memories, time and memory as functions of the input length.
- `badger.bench.cases.memory_costs.price`: every registered memory, beside a GRU of the same size.
"""
