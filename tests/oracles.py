"""Slow and obvious references: what the fast code must equal, in plain operations and loops."""

from collections.abc import Collection

import torch
from torch import Tensor


def episodic_memory(
    weights: dict[str, Tensor],
    xs: Tensor,
    *,
    slots: int,
    top_k: int,
    similarity: str,
    weighting: str,
    row_content: str,
    detach_rows: bool,
    private: bool,
    reset: Tensor | None = None,
    present: Tensor | None = None,
    without_grad: Collection[int] = (),
) -> Tensor:
    """A dense circular buffer beside a GRU, cloned at each step; one store after the other.

    weights: the parameters of a memory, by name. xs (T, B, N, D), reset (T, B), present (T, B, N) -> ys (T, B, N, H).
    without_grad: steps that run under no_grad.
    """
    memory = _Memory(weights, slots, top_k, similarity, weighting, row_content, detach_rows)
    return _played(memory, xs, private, reset, present, without_grad)


def clustered_memory(
    weights: dict[str, Tensor],
    xs: Tensor,
    *,
    slots: int,
    top_k: int,
    threshold: float,
    similarity: str,
    weighting: str,
    row_content: str,
    detach_rows: bool,
    private: bool,
    reset: Tensor | None = None,
    present: Tensor | None = None,
) -> Tensor:
    """A list of slots beside a GRU, each the mean of similar rows; a read takes a slot's row as often as it counts."""
    memory = _Clustered(weights, slots, top_k, similarity, weighting, row_content, detach_rows)
    memory.threshold = threshold
    return _played(memory, xs, private, reset, present, ())


def _played(memory, xs, private, reset, present, without_grad) -> Tensor:
    steps, batch, n, _ = xs.shape
    reset = torch.zeros(steps, batch, dtype=torch.bool) if reset is None else reset
    present = torch.ones(steps, batch, n, dtype=torch.bool) if present is None else present
    groups = [[i] for i in range(n)] if private else [list(range(n))]
    rows = []
    for b in range(batch):
        ys = [memory.episode(xs[:, b, g], reset[:, b], present[:, b, g], without_grad) for g in groups]
        rows.append(torch.cat(ys, 1))
    return torch.stack(rows, 1)


class _Memory:
    def __init__(self, weights, slots, top_k, similarity, weighting, row_content, detach_rows):
        self.weights, self.slots, self.top_k, self.row_content = weights, slots, top_k, row_content
        self.similarity, self.weighting, self.detach_rows = similarity, weighting, detach_rows
        self.hidden = weights["controller.weight_hh"].shape[1]

    def episode(self, xs, reset, present, without_grad) -> Tensor:
        """xs (T, n, D) of the members of one store."""
        ys = []
        for t, x in enumerate(xs):
            with torch.set_grad_enabled(t not in without_grad):
                if t == 0 or reset[t]:
                    buffer, h, pending = self.empty(x), xs.new_zeros(len(x), self.hidden), None
                if pending is not None:
                    buffer = self.written(buffer, *pending)
                new = torch.stack([self.step(x[i], h[i], buffer) for i in range(len(x))])
                h = torch.where(present[t].unsqueeze(-1), new, h)
                pending = [self.row(x[i], h[i]) for i in range(len(x))], present[t]
                ys.append(h)
        return torch.stack(ys)

    def empty(self, x):
        """The buffer holds whole steps: (steps, n, size) keys and values, which of them count, and the clock."""
        steps, n = self.slots // len(x), len(x)
        value = (x.shape[1] if self.row_content != "h" else 0) + (self.hidden if self.row_content != "x" else 0)
        if "compress.weight" in self.weights:
            value = len(self.weights["compress.weight"])
        keys = x.new_zeros(steps, n, self.weights["key.bias"].shape[0])
        return keys, x.new_zeros(steps, n, value), torch.zeros(steps, n, dtype=torch.bool), 0

    def written(self, buffer, rows, active):
        keys, values, counts, clock = buffer
        keys, values, counts = keys.clone(), values.clone(), counts.clone()
        oldest = clock % len(keys)
        for i, (key, value) in enumerate(rows):
            keys[oldest, i], values[oldest, i], counts[oldest, i] = key, value, active[i]
        return keys, values, counts, clock + 1

    def row(self, x, h):
        if self.detach_rows:
            x, h = x.detach(), h.detach()
        value = torch.cat({"x": [x], "h": [h], "both": [x, h]}[self.row_content])
        if "compress.weight" in self.weights:
            value = self.weights["compress.weight"] @ value
        return self.projected("key", x, h), value

    def projected(self, name, x, h):
        vector = self.weights[f"{name}.weight"] @ torch.cat([x, h]) + self.weights[f"{name}.bias"]
        return vector / vector.square().sum().sqrt() if self.similarity == "cosine" else vector

    def step(self, x, h, buffer):
        m = self.read(self.projected("query", x, h), buffer)
        gru = [self.weights[f"controller.{p}"] for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        return torch.gru_cell(torch.cat([x, m]).unsqueeze(0), h.unsqueeze(0), *gru).squeeze(0)

    def read(self, query, buffer):
        keys, values, counts, _ = buffer
        if not counts.any():
            return values.new_zeros(values.shape[-1])
        keys, values = keys[counts], values[counts]
        scores = torch.stack([self.similar(query, key) for key in keys])
        best = torch.argsort(scores, descending=True)[: self.top_k]
        scores, values = scores[best], values[best]
        if self.weighting == "softmax":
            weights = scores.exp() / scores.exp().sum()
        elif self.weighting == "inverse_distance":
            weights = 1 / (1e-3 - scores)
            weights = weights / weights.sum()
        else:
            weights = scores
        return sum(w * v for w, v in zip(weights, values, strict=True))

    def similar(self, query, key):
        if self.similarity == "l2":
            return -(query - key).square().sum()
        scale = {"dot": 1.0, "scaled_dot": len(key) ** -0.5, "cosine": self.weights.get("sharpness")}
        return (query * key).sum() * scale[self.similarity]


def shared_memory(
    weights: dict[str, Tensor], xs: Tensor, *, slots: int, top_k: int, tags: int, writers: int | None, present: Tensor
) -> tuple[Tensor, Tensor]:
    """A list of rows that all members read, scaled dot product and softmax, beside a GRU; no reset.

    weights: the parameters of a `TaggedMemory` memory, by name. xs (T, B, N, D), present (T, B, N) -> ys (T, B, N, H),
    and the read weight of rows with the own tag (T, B, N).
    """
    both = [_shared_episode(weights, xs[:, b], present[:, b], slots, top_k, tags, writers) for b in range(xs.shape[1])]
    ys, fractions = zip(*both, strict=True)
    return torch.stack(ys, 1), torch.stack(fractions, 1)


def _shared_episode(weights, xs, present, slots, top_k, tags, writers):
    gru = [weights[f"memory.controller.{p}"] for p in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
    n, hidden = xs.shape[1], gru[1].shape[1]
    writers = n if writers is None else min(writers, n)

    def linear(name, *parts):
        return weights[f"{name}.weight"] @ torch.cat(parts) + weights[f"{name}.bias"]

    steps, h, ys, fractions = [], xs.new_zeros(n, hidden), [], []  # steps: the rows (key, value, writer) of each
    for t, x in enumerate(xs):
        rows = [row for step in steps[-(slots // writers) :] for row in step]
        new, own = [], []
        for i in range(n):
            query = linear("memory.query", x[i], h[i])
            read, own_weight = x.new_zeros(x.shape[1] + hidden), x.new_zeros(())
            if rows:
                same_tag = torch.tensor([tags > 0 and j % tags == i % tags for _, _, j in rows])
                scores = torch.stack([query @ key for key, _, _ in rows]) * len(query) ** -0.5
                scores = scores + same_tag * weights.get("bonus", 0)
                best = scores.argsort(descending=True)[:top_k]
                weight = scores[best].softmax(0)
                read, own_weight = (
                    sum(s * rows[k][1] for s, k in zip(weight, best, strict=True)),
                    (weight * same_tag[best]).sum(),
                )
            if "gate.weight" in weights:
                read = read * torch.sigmoid(linear("gate", x[i], h[i], own_weight.unsqueeze(0)))
            stepped = torch.gru_cell(torch.cat([x[i], read]).unsqueeze(0), h[i].unsqueeze(0), *gru).squeeze(0)
            new.append(stepped if present[t, i] else h[i])
            own.append(own_weight)
        h = torch.stack(new)
        steps.append(
            [(linear("memory.key", x[j], h[j]), torch.cat([x[j], h[j]]), j) for j in range(writers) if present[t, j]]
        )
        ys.append(h)
        fractions.append(torch.stack(own))
    return torch.stack(ys), torch.stack(fractions)


class _Clustered(_Memory):
    """The buffer holds slots (key, value, count, when last written), and the clock."""

    threshold: float

    def empty(self, x):
        return [], 0

    def row(self, x, h):
        if self.detach_rows:
            x, h = x.detach(), h.detach()
        key = self.weights["key.weight"] @ torch.cat([x, h]) + self.weights["key.bias"]
        return key, torch.cat({"x": [x], "h": [h], "both": [x, h]}[self.row_content])

    def written(self, buffer, rows, active):
        slots, clock = [*buffer[0]], buffer[1]
        for (key, value), here in zip(rows, active, strict=True):
            if not here:
                continue
            similarities = [(key @ k / (key.norm() * k.norm())).item() for k, *_ in slots]
            if similarities and max(similarities) > self.threshold:
                slot = similarities.index(max(similarities))
                k, v, n, _ = slots[slot]
                slots[slot] = (k * n + key) / (n + 1), (v * n + value) / (n + 1), n + 1, clock
            elif len(slots) < self.slots:
                slots.append((key, value, 1, clock))
            else:
                oldest = min(range(len(slots)), key=lambda i: slots[i][3])
                slots[oldest] = key, value, 1, clock
            clock += 1
        return slots, clock

    def read(self, query, buffer):
        slots, _ = buffer
        if not slots:
            return query.new_zeros(self.weights["controller.weight_ih"].shape[1] - self.inputs)
        keys = [key / key.norm() if self.similarity == "cosine" else key for key, *_ in slots]
        scores = [self.similar(query, key) for key in keys]
        best = sorted(range(len(slots)), key=lambda i: -scores[i].item())[: self.top_k]
        rows = [i for i in best for _ in range(slots[i][2])]
        values, scores = torch.stack([slots[i][1] for i in rows]), torch.stack([scores[i] for i in rows])
        if self.weighting == "similarity":
            return scores @ values
        fractions = scores.exp() if self.weighting == "softmax" else 1 / (1e-3 - scores)
        return fractions / fractions.sum() @ values

    @property
    def inputs(self):
        return self.weights["key.weight"].shape[1] - self.hidden
