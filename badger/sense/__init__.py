"""Input maps (senses): from a task's observation to the observation of each expert.

- `badger.sense.base`: `Sense`, the base class. Start here to write one.
- `badger.sense.vectors`: senses of a plain vector, for all experts, for each, or for each agent of an environment.
- `badger.sense.multi_input`: an encoder for each part of an observation: images, texts, vectors.
- `badger.sense.image_networks`: the convolutional networks of DQN and of IMPALA.

`SENSES` has every sense by name.
"""

from collections.abc import Callable

from badger.sense.base import Sense
from badger.sense.multi_input import MultiInput, auto, impala, nature
from badger.sense.vectors import Broadcast, Embedding, PerExpert, Scaled, Team

SENSES: dict[str, Callable[..., Sense]] = {
    "auto": auto,
    "broadcast": Broadcast,
    "scaled": Scaled,
    "embedding": Embedding,
    "per_expert": PerExpert,
    "team": Team,
    "nature": nature,
    "impala": impala,
}
"""Senses by name, each a factory `(obs_size, *, options) -> Sense`.

A factory with parameters `obs_parts` and `agents` is given `Task.obs_parts` and `Task.agents`.
"""

__all__ = ["SENSES", "Broadcast", "Embedding", "MultiInput", "PerExpert", "Scaled", "Sense", "Team"]
