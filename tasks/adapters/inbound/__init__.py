"""Environments of other libraries as tasks.

gymnasium_task.py              `Gymnasium`: any environment of Gymnasium; gymnasium_spec.py: which, and how it is made
pettingzoo_task.py             `PettingZoo`: any parallel environment of PettingZoo
multi_agent_env.py             a parallel environment as one environment of Gymnasium
multi_agent_observations.py    observations of all agents in one shape; multi_agent_actions.py: their actions
env_pool.py                    a batch of copies; worker_pool.py: in worker processes
checked_env.py                 a copy whose errors name its row, seed and step
spaces.py                      spaces of Gymnasium as observation sizes and actions
"""
