"""Shapes are checked in the tests only: jaxtyping annotations, by beartype, in all four packages."""

from collections.abc import Iterator
from pathlib import Path

import hypothesis
import jaxtyping
import pytest
import torch

import tiny_babi
import tiny_mnist

# A module is rewritten as it is loaded, so this comes before anything imports one of ours. An int is a float (PEP 484).
CHECK = "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))"
jaxtyping.install_import_hook(["badger", "experts", "comms", "tasks"], CHECK)

torch.set_num_threads(1)  # two workers share two cores

hypothesis.settings.register_profile("quick", max_examples=20, deadline=None, derandomize=True)
hypothesis.settings.load_profile("quick")


@pytest.fixture(scope="session", autouse=True)
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Data sets are small and made here: no test looks for the user's, and none is fetched."""
    folder = tmp_path_factory.mktemp("data")
    tiny_mnist.write(folder / "mnist")
    tiny_babi.write(folder / "babi" / "tasks_1-20_v1-2")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BADGER_DATA", str(folder))
        patch.setattr("tasks.babi.files.PUBLISHED", {})  # of which ours would be told to be cut off
        yield folder / "mnist"


@pytest.fixture
def rng() -> torch.Generator:
    """A generator on the CPU, seeded with 0 for each test."""
    return torch.Generator().manual_seed(0)
