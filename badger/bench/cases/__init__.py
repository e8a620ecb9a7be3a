"""Benchmarks: functions of the device that yield results, one for each measurement.

- `badger.bench.cases.memory`, `badger.bench.cases.million`, `badger.bench.cases.dnc`,
  `badger.bench.cases.sparse`: cost of a step of a memory.
- `badger.bench.cases.memory_costs`: cost as a function of the input length, and the price of every memory.
- `badger.bench.cases.agents`, `badger.bench.cases.crowd`: outer steps of agents, and agents of many experts.
- `badger.bench.cases.sharded`: one agent over several processes.
- `badger.bench.cases.env_throughput`, `badger.bench.cases.external_envs`, `badger.bench.cases.maze`: tasks.
- `badger.bench.cases.offline_data`: a data set of recorded episodes in a file.
- `badger.bench.cases.learners`: PPO, compared with sb3-contrib's, and evolution strategies.
  `badger.bench.cases.offline`: a Decision Transformer, trained and acting, compared with a plain one.
"""
