"""Which arrays are images, and the order of their axes."""

from typing import Any

import numpy as np

SMALLEST_SIDE = 5  # pixels; smaller boards are vectors, as a convolution finds nothing in them


def image_layout(box: Any) -> str:
    """The axes of an image, such as "HWC"; "" for a Box that is no image.

    An image has integers, or equal finite bounds, and three axes, or two if its values are uint8; a fourth axis in
    front is a stack of frames.

    Args:
        box: a space of Gymnasium.
    """
    shape, discrete = box.shape, box.dtype.kind in "uib"
    if len(shape) not in (2, 3, 4) or not box.low.size:
        return ""
    low, high = float(box.low.min()), float(box.high.max())
    uniform = low == box.low.max() and high == box.high.min() and np.isfinite([low, high]).all()
    if not uniform or high <= low:
        return ""
    if len(shape) == 2:
        return "HW" if box.dtype == np.uint8 and min(shape) >= SMALLEST_SIDE else ""
    if not discrete and (low, high) not in ((0, 1), (0, 255), (-1, 1)):
        return ""
    layout = _channel_order(shape[-3:])
    sides = [side for side, axis in zip(shape[-3:], layout, strict=True) if axis != "C"]
    return "N" * (len(shape) == 4) + layout if min(sides) >= SMALLEST_SIDE else ""


def _channel_order(shape: tuple[int, ...]) -> str:
    """ "HWC" or "CHW": the two equal sides are height and width; otherwise the fewest are channels."""
    first, second, third = shape
    if first == second != third:
        return "HWC"
    if second == third != first:
        return "CHW"
    return "CHW" if first < third else "HWC"
