"""A differentiable neural computer slot by slot and head by head, as the equations of Graves et al. 2016 stand, with
those of Csordas and Schmidhuber 2019 where asked for.

One store; lists of numbers, loops, no batches. `DNCStore.step` takes the interfaces of the members in turn.
"""

import numpy as np

SMALL = 1e-6


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def oneplus(x):
    return 1 + np.log1p(np.exp(x))


def softmax(x):
    fractions = np.exp(x - np.max(x))
    return fractions / fractions.sum()


def cosine(u, v):
    return u @ v / np.sqrt((u @ u + SMALL) * (v @ v + SMALL))


def content(memory, key, strength, mask):
    return softmax(np.array([strength * cosine(key * mask, row * mask) for row in memory]))


def allocation(usage):
    fractions, product = np.zeros(len(usage)), 1.0
    for slot in np.argsort(np.round(usage * 1e4), kind="stable"):  # the free list
        used = SMALL + (1 - SMALL) * usage[slot]
        fractions[slot] = (1 - used) * product
        product *= used
    return fractions


def sharpen(fractions, power):
    raised = (fractions + SMALL) ** power
    return raised / raised.sum()


class Interface:
    """The parts of a vector, taken off its front one by one."""

    def __init__(self, vector, heads, width, masking, sharpness):
        self.rest = vector
        self.write_key, self.write_value = self.take(width), self.take(width)
        self.keys = [self.take(width) for _ in range(heads)]
        self.erase = sigmoid(self.take(width))
        self.write_gate, self.allocation_gate = sigmoid(self.take(2))
        self.free_gates = sigmoid(self.take(heads))
        masks = [sigmoid(self.take(width)) if masking else np.ones(width) for _ in range(1 + heads)]
        self.write_mask, self.masks = masks[0], masks[1:]
        self.write_strength = oneplus(self.take(1))[0]
        self.strengths = oneplus(self.take(heads))
        self.powers = [oneplus(self.take(2)) if sharpness else None for _ in range(heads)]
        self.modes = [softmax(self.take(3)) for _ in range(heads)]
        assert len(self.rest) == 0

    def take(self, count):
        taken, self.rest = self.rest[:count], self.rest[count:]
        return taken


class Store:
    def __init__(self, slots, width, heads, members, *, masking=False, deallocation=False, sharpness=False):
        self.heads, self.width, self.masking = heads, width, masking
        self.deallocation, self.sharpness = deallocation, sharpness
        self.memory, self.usage, self.link = np.zeros((slots, width)), np.zeros(slots), np.zeros((slots, slots))
        self.precedence, self.written = np.zeros(slots), np.zeros(slots)
        self.weights = np.zeros((members, heads, slots))
        self.reads = np.zeros((members, heads, width))

    def step(self, vectors, present):
        asks = [Interface(v, self.heads, self.width, self.masking, self.sharpness) for v in vectors]
        for member, params in enumerate(asks):
            if present[member]:
                self.write(params, self.weights[member])
        for member, params in enumerate(asks):
            if present[member]:
                for head in range(self.heads):
                    self.weights[member, head] = self.find(params, head, self.weights[member, head])
                    self.reads[member, head] = self.memory.T @ self.weights[member, head]

    def write(self, params, read):
        slots, old = len(self.usage), self.memory
        retained = np.ones(slots)
        for head in range(self.heads):
            retained *= 1 - params.free_gates[head] * read[head]
        self.usage = (self.usage + self.written - self.usage * self.written) * retained
        results = content(old, params.write_key, params.write_strength, params.write_mask)
        gate, freely = params.write_gate, params.allocation_gate
        w = gate * (freely * allocation(self.usage) + (1 - freely) * results)
        if self.deallocation:
            old = old * retained[:, None]
        self.memory = old * (1 - np.outer(w, params.erase)) + np.outer(w, params.write_value)
        link = np.zeros((slots, slots))
        for i in range(slots):
            for j in range(slots):
                if i != j:
                    link[i, j] = (1 - w[i] - w[j]) * self.link[i, j] + w[i] * self.precedence[j]
        self.link, self.written = link, w
        self.precedence = (1 - w.sum()) * self.precedence + w

    def find(self, params, head, last):
        previous, final = self.link.T @ last, self.link @ last
        if self.sharpness:
            previous, final = (sharpen(d, s) for d, s in zip((previous, final), params.powers[head], strict=True))
        results = content(self.memory, params.keys[head], params.strengths[head], params.masks[head])
        return np.array(params.modes[head]) @ np.array([previous, results, final])
