"""exp, sigmoid and tanh of the kernels are those of torch, to the last digits."""

import ctypes

import pytest
import torch

from experts.kernels.library import description, kernel, library

pytestmark = pytest.mark.skipif(library() is None, reason=f"kernels: {description()}")

ARRAYS = ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int64
FUNCTIONS = {"exponential_of": torch.exp, "sigmoid_of": torch.sigmoid, "tanh_of": torch.tanh}
TOLERANCE = {torch.float: 2e-7, torch.double: 1e-15}


def apply(name, x):
    out = torch.empty_like(x)
    kernel(name, x.dtype, *ARRAYS)(x.data_ptr(), out.data_ptr(), x.numel())
    return out


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_the_relative_error_is_that_of_rounding(name, dtype):
    small = torch.logspace(-30, 0, 1001, dtype=torch.double)
    x = torch.cat([torch.linspace(-80, 80, 100_003, dtype=torch.double), small, -small]).to(dtype)
    want = FUNCTIONS[name](x.double())
    error = (apply(name, x).double() - want).abs() / want.abs().clamp(min=1e-300)
    error[want == 0] = 0
    assert error.max() <= TOLERANCE[dtype], x[error.argmax()]


@pytest.mark.parametrize("dtype", TOLERANCE)
@pytest.mark.parametrize("name", FUNCTIONS)
def test_nan_stays_nan_and_limits_are_reached(name, dtype):
    infinite = float("inf")
    got = apply(name, torch.tensor([float("nan"), infinite, -infinite, 0.0], dtype=dtype))
    want = FUNCTIONS[name](torch.tensor([infinite, -infinite, 0.0], dtype=torch.double))
    assert got[0].isnan() and got[3] == want[2]
    if name == "exponential_of":  # limited to normal numbers
        assert got[1] > 1e38 and got[2] < 1e-37
    else:
        torch.testing.assert_close(got[1:3].double(), want[:2], rtol=0, atol=1e-15)
