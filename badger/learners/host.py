"""The functions by which learners read values of the device on the host, and work on the host alone."""

from collections.abc import Callable
from typing import Any

import numpy as np
from torch import Tensor


def to_host(tensor: Tensor) -> np.ndarray:
    """The values of a tensor on the host; waits for the device.

    Learners call it as `host.to_host`, and nothing else that waits: a contract replaces it by a prepared answer on the
    meta device, and counts its calls, of which an update makes at most `host_reads`, by default 1. `BPTT` and `A2C`
    never call it; `PPO` only with `target_kl`, for each minibatch; `DQN`, `DRQN`, `R2D2`, `MFEC` and `NEC` once in an
    update, and `R2D2` once more in each gradient step to find stored recurrent states; `EMDQN` twice; `WorldModels`
    once, to record random episodes, or to count the steps of a generation. A store of MFEC, NEC or EMDQN that is full
    calls it once more for each action that is written.

    Args:
        tensor: on any device; its gradient is cut off.
    """
    return tensor.detach().cpu().numpy()


def on_host(function: Callable[..., Any], *args: Any) -> Any:
    """The result of a function that works on the host alone, such as one that reads recorded episodes from a file.

    It has values where those of the device have none: the contract of learners calls it outside of FakeTensorMode.

    Args:
        function: takes and returns no tensor of the device.
        args: its arguments.
    """
    return function(*args)
