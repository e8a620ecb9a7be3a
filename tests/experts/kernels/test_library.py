"""The kernels that this process uses."""

import ctypes

import pytest
import torch
from torch.overrides import TorchFunctionMode

from experts.kernels.library import addresses, description, kernel, library, without_kernels

needs_kernels = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")


def test_kernels_are_switched_off_inside_of_a_block_only():
    before = library()
    with without_kernels():
        assert library() is None and "switched off" in description()
    assert library() is before


class Doubled(TorchFunctionMode):
    """Products are twice as large."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        return func(*args, **kwargs or {}) * (2 if func is torch.mm else 1)


def test_kernels_are_not_used_where_a_mode_changes_the_functions_of_torch():
    with Doubled():
        assert library() is None
    with torch.device("cpu"):  # a mode, too, but products are the same
        assert library() is not None or description().startswith("none")


def test_an_address_of_a_tensor_with_gaps_is_refused():
    whole = torch.zeros(4, 6)
    assert addresses([whole, None, whole[1:]]) == [whole.data_ptr(), None, whole.data_ptr() + 24]
    with pytest.raises(ValueError, match=r"shape \(4, 3\) has strides \(6, 1\), want none"):
        addresses([whole[:, :3]])


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
