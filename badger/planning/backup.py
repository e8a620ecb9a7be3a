"""Steps of a belief, and backups of alpha vectors at a belief, from tables that are computed once.

Shapes: A action, O observation, S state, K vector, B belief.
"""

import numpy as np

from badger.planning.alpha_vectors import AlphaVectors
from badger.planning.bounds import joint_probabilities
from tasks.pomdp import PomdpModel


class Dynamics:
    """Tables of a model for steps of beliefs and for backups.

    Args:
        model: the model.
    """

    def __init__(self, model: PomdpModel):
        self.model, self.joint = model, joint_probabilities(model)  # (A, O, S, S')
        actions, observations, size, _ = self.joint.shape
        self.shape = actions, observations
        self._flat = self.joint.reshape(-1, size, size).transpose(1, 0, 2).reshape(size, -1)  # (S, A O S')

    def next_beliefs(self, belief: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The probability of each observation after each action, (A, O), and the belief that follows, (A, O, S).

        After an observation of probability 0 the belief is all zeros.

        Args:
            belief: (S,).
        """
        joint = (belief @ self._flat).reshape(*self.shape, -1)
        probability = joint.sum(-1)
        return probability, joint / np.where(probability > 0, probability, 1)[..., None]

    def backup(self, vectors: AlphaVectors, belief: np.ndarray) -> tuple[np.ndarray, int]:
        """The alpha vector and the action that are best at a belief, if the given plans may follow.

        Args:
            vectors: of the plans that may follow.
            belief: (S,).

        Source: Pineau, Gordon and Thrun 2003, Point-based value iteration.
        """
        _, following = self.next_beliefs(belief)
        chosen = vectors.vectors[vectors.best(following.reshape(-1, len(belief)))].reshape(
            *self.shape, -1
        )  # (A, O, S')
        futures = np.einsum("aost,aot->as", self.joint, chosen)
        plans = self.model.expected_reward + self.model.discount * futures
        action = int((plans @ belief).argmax())
        return plans[action], action
