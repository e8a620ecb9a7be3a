"""Slow and obvious NumPy references of the buses: one episode, one receiver and one edge at a time."""

import numpy as np


def edge_attention(values, edges, queries=None, keys=None):
    """values (B, E, H, V), queries and keys (B, E, H, D) -> inbox (B, E, H V), weights (B, K)."""
    inbox, weights = np.zeros(values.shape), np.zeros(edges.weight.shape)
    for b, (senders, receivers, weight) in enumerate(zip(*edges[:3], strict=True)):
        for j in range(values.shape[1]):
            incoming = [k for k in range(len(weight)) if receivers[k] == j and weight[k] > 0]
            for h in range(values.shape[2]):
                score = {k: 0.0 if keys is None else queries[b, j, h] @ keys[b, senders[k], h] for k in incoming}
                exp_scores = {k: weight[k] * np.exp(score[k] - max(score.values())) for k in incoming}
                for k in incoming:
                    fraction = exp_scores[k] / sum(exp_scores.values())
                    inbox[b, j, h] += fraction * values[b, senders[k], h]
                    weights[b, k] += fraction / values.shape[2]
    return inbox.reshape(*values.shape[:2], -1), weights


def mean(bus, y, edges):
    """The Mean bus, from its parameters."""
    return edge_attention((y @ bus.message.weight.detach().numpy().T)[:, :, None], edges)


def attention(bus, y, edges):
    """The Attention bus, from its parameters."""
    linear = bus.query_key_value
    size = bus.heads * bus.key_size
    projected = y @ linear.weight.detach().numpy().T + linear.bias.detach().numpy()
    parts = np.split(projected, [size, 2 * size], -1)
    query, key, value = (part.reshape(*y.shape[:2], bus.heads, -1) for part in parts)
    return edge_attention(value, edges, query / np.sqrt(bus.key_size), key)


def workspace(bus, y, edges, slots):
    """A round of the Workspace bus, from its parameters: inbox, weights, messages, the updated slots."""
    p = {name: value.detach().numpy() for name, value in bus.named_parameters()}
    projected = y @ p["query_key_value.weight"].T + p["query_key_value.bias"]
    query, key, value = np.split(projected, [bus.key_size, 2 * bus.key_size], -1)
    inbox, weights, messages, slots = np.zeros(value.shape), np.zeros(edges.weight.shape), [], slots.copy()
    for b, lines in enumerate(zip(*edges[:3], strict=True)):
        active = [(i, j, w, k) for k, (i, j, w) in enumerate(zip(*lines, strict=True)) if w > 0]
        writers = {i: max(w for s, _, w, _ in active if s == i) for i, *_ in active}
        readers = {j for _, j, _, _ in active}
        messages.append(len(writers) + len(slots[b]) * len(readers))
        written = []
        for s, embedding in enumerate(p["slot_embedding"]):
            slot_query = p["query.weight"] @ (slots[b, s] + embedding)
            score = {i: slot_query @ key[b, i] / np.sqrt(bus.key_size) for i in writers}
            winners = sorted(score, key=score.get)[-(bus.top_k or len(score)) :] if score else []
            exp_scores = {i: writers[i] * np.exp(score[i]) for i in winners}
            written.append({i: part / sum(exp_scores.values()) for i, part in exp_scores.items()})
            if winners:
                new = np.tanh(sum(part * value[b, i] for i, part in written[s].items()))
                gate = p["gate.weight"] @ np.concatenate([slots[b, s], new]) + p["gate.bias"]
                slots[b, s] += (new - slots[b, s]) / (1 + np.exp(-gate))
        for j in readers:
            score = [
                query[b, j] @ p["key.weight"] @ (m + a) for m, a in zip(slots[b], p["slot_embedding"], strict=True)
            ]
            read = np.exp(np.array(score) / np.sqrt(bus.key_size))
            read /= read.sum()
            inbox[b, j] = read @ slots[b]
            part = {
                k: sum(r * w.get(i, 0) for r, w in zip(read, written, strict=True)) for i, t, _, k in active if t == j
            }
            for k, rate in part.items():
                weights[b, k] = rate / sum(part.values()) if sum(part.values()) else 0
    return inbox, weights, np.array(messages), slots
