"""One step of a metalearned neural memory in NumPy, number by number as the paper has it: slow and obvious.

Of one store, with n members, H heads, L layers and width D.
"""

import numpy as np


def recall(memory, key):
    """All layers' activations (L + 1, D) of one key."""
    zs = [key]
    for m in memory:
        z = np.array([sum(m[i, j] * zs[-1][j] for j in range(len(key))) for i in range(len(m))])
        zs.append(z if m is memory[-1] else np.tanh(z))
    return zs


def local_changes(memory, key, value, weights):
    """(z - zhat) z_below^T of each layer."""
    zs = recall(memory, key)
    expected = weights["feedback.weight"] @ value + weights["feedback.bias"]
    size = len(key)
    return [np.outer(zs[i + 1] - expected[i * size : (i + 1) * size], zs[i]) for i in range(len(memory))]


def gradient_changes(memory, key, value, weights):
    """Half the gradient of ||f(key) - value||^2, by the chain rule."""
    zs = recall(memory, key)
    changes, error = [], zs[-1] - value
    for i in reversed(range(len(memory))):
        changes.insert(0, np.outer(error, zs[i]))
        error = (memory[i].T @ error) * (1 - zs[i] ** 2)
    return changes


CHANGES = {"local": local_changes, "gradient": gradient_changes}


def step(weights, memory, hs, *, rule, heads, scale, present):
    """From the controller's outputs hs (n, hidden) and the weights by name: the memory after the step, ys, reads and
    the loss (delay 0) of those present. Entries of ys and reads of absent members are None."""
    size = len(memory[0])
    active = [i for i in range(len(hs)) if present[i]]
    changed = [np.zeros_like(m) for m in memory]
    writes, queries = {}, {}
    for i in active:
        out = np.tanh(weights["interact.weight"] @ hs[i] + weights["interact.bias"])
        of_rate, *parts = np.split(out, [size, size * (1 + heads), size * (1 + 2 * heads)])
        reads, keys, values = (part.reshape(heads, size) for part in parts)
        rate = 1 / (1 + np.exp(-(weights["rate.weight"][0] @ of_rate + weights["rate.bias"][0])))
        writes[i], queries[i] = list(zip(keys, values, strict=True)), reads
        for key, value in writes[i]:
            for total, change in zip(changed, CHANGES[rule](memory, key, value, weights), strict=True):
                total += rate * scale * change / len(active)
    memory = [m - change for m, change in zip(memory, changed, strict=True)]
    ys, read, losses = [None] * len(hs), [None] * len(hs), []
    for i in active:
        read[i] = np.mean([recall(memory, key)[-1] for key in queries[i]], 0)
        ys[i] = weights["output.weight"] @ np.concatenate([hs[i], read[i]]) + weights["output.bias"]
        losses.append(np.mean([(recall(memory, key)[-1] - value) ** 2 for key, value in writes[i]]))
    return memory, ys, read, np.mean(losses) if losses else 0.0
