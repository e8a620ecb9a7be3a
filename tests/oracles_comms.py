"""Slow and obvious NumPy references of the buses: one episode, one receiver and one edge at a time."""

import numpy as np


def hear(values, edges, queries=None, keys=None):
    """values (B, E, H, V), queries and keys (B, E, H, D) -> inbox (B, E, H V), weights (B, K)."""
    inbox, weights = np.zeros(values.shape), np.zeros(edges.weight.shape)
    for b, (senders, receivers, weight) in enumerate(zip(*edges[:3], strict=True)):
        for j in range(values.shape[1]):
            ears = [k for k in range(len(weight)) if receivers[k] == j and weight[k] > 0]
            for h in range(values.shape[2]):
                score = {k: 0.0 if keys is None else queries[b, j, h] @ keys[b, senders[k], h] for k in ears}
                loud = {k: weight[k] * np.exp(score[k] - max(score.values())) for k in ears}
                for k in ears:
                    share = loud[k] / sum(loud.values())
                    inbox[b, j, h] += share * values[b, senders[k], h]
                    weights[b, k] += share / values.shape[2]
    return inbox.reshape(*values.shape[:2], -1), weights


def mean(bus, y, edges):
    """The Mean bus, from its parameters."""
    return hear((y @ bus.message.weight.detach().numpy().T)[:, :, None], edges)


def attention(bus, y, edges):
    """The Attention bus, from its parameters."""
    linear = bus.query_key_value
    size = bus.heads * bus.key_size
    projected = y @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    parts = np.split(projected, [size, 2 * size], -1)
    query, key, value = (part.reshape(*y.shape[:2], bus.heads, -1) for part in parts)
    return hear(value, edges, query / np.sqrt(bus.key_size), key)
