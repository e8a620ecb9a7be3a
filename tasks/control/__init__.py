"""Control tasks: an agent moves through a small world and is rewarded.

cart_pole.py         `CartPole`, with or without velocities
maze.py              `Maze` with a hidden goal (Miconi et al. 2018); maze_tables.py: its grid as tables
t_maze.py            `TMaze`, the passive T-maze; t_maze_long.py: `TMazeLong`, with noise
proof_of_memory.py   `ProofOfMemory`, a line with a good end that is shown for a moment
"""
