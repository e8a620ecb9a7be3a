"""An upper bound of the value from values at some beliefs: the sawtooth interpolation.

Shapes: N point, S state, B belief.
"""

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors


class SawtoothBound:
    """An upper bound: at each belief the least of a first bound and of interpolations from points.

    An interpolation is linear between the corners of the simplex and one point, which lies below the plane through the
    corners.

    Args:
        first: an upper bound, such as the fast informed bound; its values at the corners are used.

    Source: Hauskrecht 2000, section 4.6; Smith and Simmons 2005, Point-based POMDP algorithms: improved analysis.
    """

    def __init__(self, first: AlphaVectors):
        self.first, self.corners = first, first.vectors.max(0)
        self._points, self._depths, self._count = np.zeros((64, len(self.corners))), np.zeros(64), 0

    def __len__(self) -> int:
        return self._count

    def value(self, beliefs: np.ndarray) -> np.ndarray:
        """The bound at beliefs.

        Args:
            beliefs: (B, S).
        """
        plane = beliefs @ self.corners
        with np.errstate(divide="ignore", invalid="ignore"):
            ratios = beliefs[:, None] / self._points[: self._count]
        share = np.fmin.reduce(ratios, -1, initial=np.inf)  # (B, N) of a point in a belief; fmin passes 0 / 0 over
        depth = (np.minimum(share, 1) * self._depths[: self._count]).min(-1, initial=0.0)
        return np.minimum(plane + depth, self.first.value(beliefs))

    def add(self, belief: np.ndarray, value: float) -> None:
        """Adds a point, and drops the points that it makes superfluous.

        Args:
            belief: (S,).
            value: an upper bound there.
        """
        points, depths = self._points[: self._count], self._depths[: self._count]
        depth = value - float(belief @ self.corners)
        with np.errstate(divide="ignore", invalid="ignore"):
            share = np.fmin.reduce(points / belief, -1, initial=np.inf)
        needed = depths < np.minimum(share, 1) * depth
        count = int(needed.sum()) + 1
        if count > len(self._points):
            self._points = np.zeros((2 * count, points.shape[1]))
            self._depths = np.zeros(2 * count)
        self._points[: count - 1], self._depths[: count - 1] = points[needed], depths[needed]
        self._points[count - 1], self._depths[count - 1], self._count = belief, depth, count
