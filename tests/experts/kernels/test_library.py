"""The kernels that this process uses."""

import ctypes

import pytest
import torch

from experts.kernels.library import description, kernel, library, without_kernels

needs_kernels = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")


def test_kernels_are_switched_off_inside_of_a_block_only():
    before = library()
    with without_kernels():
        assert library() is None and "switched off" in description()
    assert library() is before


@needs_kernels
def test_an_unknown_kernel_is_an_error():
    with pytest.raises(AttributeError, match="no_such_float"):
        kernel("no_such", torch.float32, ctypes.c_long)


def test_badger_list_and_runs_say_which_kernels_there_are(capsys):
    from badger.cli.main import main
    from badger.runs.run import versions

    assert main(["list"]) == 0
    assert description() in capsys.readouterr().out
    assert versions()["kernels"] == description()
