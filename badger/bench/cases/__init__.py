"""Benchmark cases: functions of the device that yield rows, a measurement each.

- `badger.bench.cases.memory`, `badger.bench.cases.million`, `badger.bench.cases.dnc`: steps of memories.
- `badger.bench.cases.lengths`: cost as a function of the length of the input.
- `badger.bench.cases.agents`, `badger.bench.cases.crowd`: outer steps of agents, and agents of very many experts.
- `badger.bench.cases.worlds`, `badger.bench.cases.maze`: tasks.
- `badger.bench.cases.recurrent_ppo`: PPO, compared with sb3-contrib.
"""
