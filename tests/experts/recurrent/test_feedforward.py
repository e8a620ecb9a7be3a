"""Cores that say they are memoryless."""

import pytest
import torch

from badger.testing.core.cases import build, noise, run
from experts import CORES


@pytest.mark.parametrize("name", [name for name in CORES if getattr(CORES[name], "memoryless", False)])
def test_outputs_of_a_memoryless_core_do_not_depend_on_earlier_steps(name):
    core = build(CORES[name])
    first, other, last = noise(3, 2, 3, 4), noise(3, 2, 3, 4, seed=1), noise(1, 2, 3, 4, seed=2)
    ys = [run(core, torch.cat([before, last]))[0][-1] for before in (first, other)]
    assert core.memoryless and torch.equal(*ys)
