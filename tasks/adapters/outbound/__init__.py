"""Tasks as environments of other libraries.

gymnasium_env.py   a task as a gymnasium.Env
parallel_env.py    a task as a pettingzoo ParallelEnv; joint_action.py: its agents, and their actions as one
episode.py         what both play: one episode after the other, in numbers
spaces.py          actions and observations as spaces of Gymnasium
rendering.py       an episode as a picture or as text
"""
