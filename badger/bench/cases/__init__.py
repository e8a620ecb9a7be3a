"""The cases of the benchmark, each a function of the device that yields rows.

dnc.py memory.py million.py     a step of a memory, and of one with a million rows
lengths.py                      cost over the length of an episode, and of an input
agents.py crowd.py              agents in training, and agents of very many experts
worlds.py maze.py               tasks against their references
recurrent_ppo.py                PPO against sb3-contrib's

`badger.bench.CASES` has them by name.
"""
