"""Spaces of Gymnasium: what an agent observes and does, for all environments of Gymnasium and PettingZoo.

- `tasks.adapters.inbound.spaces.observations`: from an observation of any space to numbers, and which parts they have.
- `tasks.adapters.inbound.spaces.images`: which arrays are images, and the order of their axes.
- `tasks.adapters.inbound.spaces.text`: texts as counts of hashed words.
- `tasks.adapters.inbound.spaces.actions`: from the agent's action to one in the structure and dtype of a space.
- `tasks.adapters.inbound.spaces.action_leaves`: the parts of an action: choices and real numbers.
- `tasks.adapters.inbound.spaces.stacking`: observations of several rows as one block, and checks of it.

These modules also run in worker processes; they do not import torch.
"""
