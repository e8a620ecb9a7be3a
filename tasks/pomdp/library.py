"""Small classic models that are part of the package, by name."""

import os
from functools import lru_cache
from importlib import resources

from tasks.pomdp.model import PomdpModel
from tasks.pomdp.reader import parse_pomdp, read_pomdp

MODELS = ("1d", "4x3", "cheese", "parr95", "shuttle", "tiger.95", "tiger.aaai")
"""The names of the models that are part of the package."""


def load_model(model: str | os.PathLike[str] | PomdpModel) -> PomdpModel:
    """A model by its name in `MODELS`, or from a file in Cassandra's POMDP format.

    Args:
        model: a name, a path, or a model, which is returned.

    Raises:
        ValueError: neither a name nor a file, or a file that is not in the format.
        OSError: a file that cannot be read.
    """
    if isinstance(model, PomdpModel):
        return model
    if str(model) in MODELS:
        return _shipped(str(model))
    if not os.path.exists(model):
        raise ValueError(f"model={str(model)!r}, want a file in the POMDP format, or one of {', '.join(MODELS)}")
    return read_pomdp(model)


@lru_cache
def _shipped(name: str) -> PomdpModel:
    file = resources.files("tasks.pomdp") / "models" / f"{name}.POMDP"
    return parse_pomdp(file.read_text(encoding="utf-8"), f"{name}.POMDP")
