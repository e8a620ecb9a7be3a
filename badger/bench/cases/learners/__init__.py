"""Benchmarks of learners.

- `badger.bench.cases.learners.recurrent_ppo`: PPO, compared with sb3-contrib's.
- `badger.bench.cases.learners.populations`: evolution strategies with low-rank noise, compared with dense noise.
"""
