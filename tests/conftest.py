"""Shapes are checked in the tests only: jaxtyping annotations, by beartype, in all four packages."""

import hypothesis
import jaxtyping
import pytest
import torch

# A module is rewritten as it is loaded, so this comes before anything imports one of ours. An int is a float (PEP 484).
CHECK = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook(["badger", "experts", "comms", "tasks"], CHECK)

torch.set_num_threads(1)  # two workers share two cores

hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.load_profile("quick")


@pytest.fixture
def rng() -> torch.Generator:
    """A generator on the CPU, seeded with 0 for each test."""
    return torch.Generator().manual_seed(0)
