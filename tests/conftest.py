"""Shapes are checked in the tests only: jaxtyping annotations, by beartype, in all four packages.

How this folder is laid out: it mirrors the packages. `experts/episodic/row_log.py` is tested by
`tests/experts/episodic/test_row_log.py`; a test of a whole package is named after the package and stands in its folder.

- `repository/`: the notebooks, the README and other files that belong to no package, and the helpers of the tests.
- `contracts*.py`: properties that every core, bus, task and learner has; `oracles*.py`: slow, obvious references.
- `toys.py`, `toy_*.py`: small agents, tasks, environments and memories; `tiny_*.py`: small data sets and runs.
- `pairwise.py`: `@pairwise(...)` and `@each_value(...)` choose few cases of a product of parameters for `make test`.

Support modules are imported by their bare names, test files by none (`--import-mode=importlib`); folders have no
`__init__.py`, for a package named `experts` or `tasks` here would hide the one that is tested. The one marker is
`nightly`: `make test` leaves these tests out, `make nightly` runs them alone. Processes that tests start load no hook.
"""

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
        patch.setattr("tasks.babi.files.PUBLISHED", {})  # by which ours would count as truncated
        yield folder / "mnist"


@pytest.fixture(autouse=True)
def no_workers_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Environments are stepped in this process where no number of workers is given, however slow the machine is."""
    monkeypatch.setattr("tasks.adapters.inbound.workers.worker_count.available_cores", lambda: 1)


@pytest.fixture
def rng() -> torch.Generator:
    """A generator on the CPU, seeded with 0 for each test."""
    return torch.Generator().manual_seed(0)
