"""A neural Turing machine slot by slot and head by head, as the equations of Graves et al. 2014 stand.

One memory; lists of numbers, loops, no batches. `Memory.step` takes the interfaces of the members in turn.
"""

import numpy as np

from oracles_dnc import content, oneplus, sigmoid, softmax

SMALL = 1e-6


class Head:
    """The parameters of a head, and its weights from the previous ones."""

    def __init__(self, vector, width):
        self.key, (strength, gate) = vector[:width], vector[width : width + 2]
        self.strength, self.gate = np.log1p(np.exp(strength)), sigmoid(gate)
        self.shifts, self.power = softmax(vector[width + 2 : -1]), oneplus(vector[-1])

    def address(self, memory, previous):
        slots, reach = len(memory), len(self.shifts) // 2
        similar = content(memory, self.key, self.strength, np.ones(len(self.key)))
        gated = self.gate * similar + (1 - self.gate) * previous
        shifted = np.zeros(slots)
        for i in range(slots):
            for k in range(-reach, reach + 1):
                shifted[(i + k) % slots] += gated[i] * self.shifts[k + reach]
        raised = (shifted + SMALL) ** self.power
        return raised / raised.sum()


class Memory:
    def __init__(self, slots, width, heads, members, max_shift):
        self.heads, self.width, self.size = heads, width, width + 3 + 2 * max_shift + 1
        self.memory = np.zeros((slots, width))
        self.written, self.weights = np.zeros((2, members, heads, slots))
        self.written[..., 0] = self.weights[..., 0] = 1
        self.reads = np.zeros((members, heads, width))

    def step(self, vectors, present):
        here = [m for m in range(len(vectors)) if present[m]]
        parts = {m: [vectors[m][i * self.size : (i + 1) * self.size] for i in range(2 * self.heads)] for m in here}
        before = self.memory.copy()
        for m in here:
            for h in range(self.heads):
                self.written[m, h] = Head(parts[m][h], self.width).address(before, self.written[m, h])
        for m in here:
            erase, _ = self.vectors(vectors[m])
            for h in range(self.heads):
                self.memory = self.memory * (1 - np.outer(self.written[m, h], sigmoid(erase[h])))
        for m in here:
            _, add = self.vectors(vectors[m])
            for h in range(self.heads):
                self.memory = self.memory + np.outer(self.written[m, h], add[h])
        for m in here:
            for h in range(self.heads):
                head = Head(parts[m][self.heads + h], self.width)
                self.weights[m, h] = head.address(self.memory, self.weights[m, h])
                self.reads[m, h] = self.weights[m, h] @ self.memory

    def vectors(self, vector):
        """The erase vectors before their sigmoid, and the add vectors, of each write head."""
        return vector[2 * self.heads * self.size :].reshape(2, self.heads, self.width)
