"""Alpha vectors: a convex, piecewise linear function of the belief, with an action for each piece.

Shapes: K vector, S state, B belief.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, eq=False)
class AlphaVectors:
    """A value function max_k v_k . b and its policy: the action of the vector that is highest at the belief.

    Args:
        vectors: (K, S), the value of each state under each vector's plan.
        actions: (K,), the first action of each plan.
    """

    vectors: np.ndarray
    actions: np.ndarray

    def __len__(self) -> int:
        return len(self.vectors)

    def best(self, belief: np.ndarray) -> Any:
        """The index of the highest vector at a belief (S,), an int, or at each of several, (B, S), an array (B,).

        Args:
            belief: distributions over the states.
        """
        index = (belief @ self.vectors.T).argmax(-1)
        return int(index) if np.ndim(index) == 0 else index

    def value(self, belief: np.ndarray) -> Any:
        """The value at a belief (S,), a float, or at each of several, (B, S), an array (B,).

        Args:
            belief: distributions over the states.
        """
        value = (belief @ self.vectors.T).max(-1)
        return float(value) if np.ndim(value) == 0 else value

    def action(self, belief: np.ndarray) -> int:
        """The action of the policy at a belief.

        Args:
            belief: (S,).
        """
        return int(self.actions[self.best(belief)])

    def select(self, index: np.ndarray) -> "AlphaVectors":
        """Some of the vectors.

        Args:
            index: integers or a mask.
        """
        return AlphaVectors(self.vectors[index], self.actions[index])
