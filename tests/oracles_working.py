"""Cores of a working memory as lists of what was seen: slow and obvious, one member of one episode at a time."""

import math
from itertools import pairwise

import torch
from torch import Tensor
from torch.nn.functional import conv2d


def lives(of, xs: Tensor, reset: Tensor | None = None, present: Tensor | None = None) -> Tensor:
    """ys (T, B, N, Y) by `of`, which makes of a whole life (T', D) its outputs (T', Y); xs (T, B, N, D).

    reset (T, B) begins a new life, present (T, B, N) leaves steps out of it: their output is that of the step before.
    """
    reset = torch.zeros(xs.shape[:2], dtype=torch.bool) if reset is None else reset
    present = torch.ones(xs.shape[:3], dtype=torch.bool) if present is None else present
    rows = []
    for b in range(xs.shape[1]):
        members = []
        for n in range(xs.shape[2]):
            spans = [0, *(t for t in range(1, len(xs)) if reset[t, b]), len(xs)]
            ys = []
            for first, hi in pairwise(spans):
                active = present[first:hi, b, n]
                assert active[0], "nothing is said of who is absent from the beginning"
                outputs = of(xs[first:hi, b, n][active])
                ys += [outputs[i] for i in (active.cumsum(0) - 1).tolist()]
            members.append(torch.stack(ys))
        rows.append(torch.stack(members, 1))
    return torch.stack(rows, 1)


def stepped(core, xs: Tensor) -> list[Tensor]:
    """The outputs of a controller, (T', D) -> T' of (H,)."""
    state, hs = core.initial_state(xs[:1].unsqueeze(0)), []
    for x in xs:
        h, state = core(x.view(1, 1, -1), state)
        hs.append(h.view(-1))
    return hs


def linear(weights: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    bias = weights.get(f"{name}.bias")
    return weights[f"{name}.weight"] @ x + (0 if bias is None else bias)


def amrl(core, xs: Tensor) -> Tensor:
    weights, visible, ys = dict(core.named_parameters()), [], []
    for h in stepped(core.controller, xs):
        half = len(h) - len(h) // 2
        visible.append(h[half:])
        total = torch.stack(visible).sum(0)
        value = {"sum": total, "avg": total / len(visible), "max": torch.stack(visible).amax(0)}[core.kind]
        through = total + (value - total).detach()
        hidden = linear(weights, "out.0", torch.cat([h[:half], through])).clamp(min=0)
        ys.append(linear(weights, "out.2", hidden))
    return torch.stack(ys)


def window(core, xs: Tensor) -> Tensor:
    weights, ys = dict(core.named_parameters()), []
    for t, h in enumerate(stepped(core.controller, xs)):
        queries = linear(weights, "query", h).chunk(core.heads)
        reads = []
        for i, query in enumerate(queries):
            scores, values = [], []
            for s in range(max(0, t - core.slots), t + 1):
                key = (
                    linear(weights, "key", xs[s]).chunk(core.heads)[i]
                    + weights["age_embedding"][i, core.slots - (t - s)]
                )
                scores.append(query @ key / math.sqrt(len(key)))
                values.append(linear(weights, "value", xs[s]).chunk(core.heads)[i])
            fractions = torch.stack(scores).exp()
            reads.append(sum(weight * value for weight, value in zip(fractions, values, strict=True)) / fractions.sum())
        ys.append(linear(weights, "out", torch.cat([h, *reads])))
    return torch.stack(ys)


def mqn(core, xs: Tensor) -> Tensor:
    weights, state, ys = dict(core.named_parameters()), None, []
    read = xs.new_zeros(core.output_size)
    for t, x in enumerate(xs):
        heard = (torch.cat([x, read]) if core.feedback else x).view(1, 1, -1)
        state = core.controller.initial_state(heard) if state is None else state
        h, state = core.controller(heard, state)
        h, seen = h.view(-1), xs[max(0, t - core.slots) : t]
        scores = [(h @ linear(weights, "key", frame)).exp() for frame in seen]
        read = xs.new_zeros(core.output_size)
        for score, frame in zip(scores, seen, strict=True):
            read = read + score / sum(scores) * linear(weights, "value", frame)
        y = linear(weights, "out", h) + read
        ys.append(torch.stack([part if i < len(y) // 2 else part.clamp(min=0) for i, part in enumerate(y)]))
    return torch.stack(ys)


def neural_map(core, xs: Tensor) -> Tensor:
    """The map as a dictionary of the places that were visited; one around the agent forgets those out of its reach."""
    weights, size, zeros = dict(core.named_parameters()), core.map_size, xs.new_zeros(core.channels)
    places, ys, reach = {}, [], (core.window or 0) // 2
    for x in xs:
        row, column = (min(int(p.clamp(0, 1) * size), size - 1) for p in x[core.position : core.position + 2])
        rows, columns = range(size), range(size)
        if core.window:
            rows, columns = (range(here - reach, here + reach + 1) for here in (row, column))
            places = {place: told for place, told in places.items() if place[0] in rows and place[1] in columns}
        cells = [places.get((i, j), zeros) for i in rows for j in columns]
        image = torch.stack(cells, -1).view(1, core.channels, len(rows), len(columns))
        for layer in ("summary.0", "summary.2"):
            image = conv2d(image, weights[f"{layer}.weight"], weights[f"{layer}.bias"], stride=2, padding=1).clamp(
                min=0
            )
        summary = linear(weights, "summary.5", image.flatten())
        query = linear(weights, "query", torch.cat([x, summary]))
        scores = [(query @ cell).exp() for cell in cells]
        context = sum(score / sum(scores) * cell for score, cell in zip(scores, cells, strict=True))
        old, told = places.get((row, column), zeros), torch.cat([x, summary, context])
        of_x = (weights["write.weight_ih"] @ told + weights["write.bias_ih"]).chunk(3)
        of_h = (weights["write.weight_hh"] @ old + weights["write.bias_hh"]).chunk(3)
        reset, keep = torch.sigmoid(of_x[0] + of_h[0]), torch.sigmoid(of_x[1] + of_h[1])
        written = keep * old + (1 - keep) * torch.tanh(of_x[2] + reset * of_h[2])
        places[row, column] = written
        ys.append(torch.tanh(linear(weights, "out", torch.cat([summary, context, written]))))
    return torch.stack(ys)


def gtrxl(core, xs: Tensor, *, cut: tuple[int, ...] = ()) -> Tensor:
    """cut: steps at which a segment begins, that gets no gradient through what is older."""
    weights = dict(core.named_parameters())
    steps = [linear(weights, "embed", x) for x in xs]
    for i, layer in enumerate(core.layers):
        own = {name[len(f"layers.{i}.") :]: w for name, w in weights.items() if name.startswith(f"layers.{i}.")}
        steps = [_layer(own, layer.heads, _past(steps, t, core.memory, cut)) for t in range(len(steps))]
    return torch.stack(steps)


def _past(steps, t, memory, cut):
    start = max((c for c in cut if c <= t), default=0)
    return [steps[s] if s >= start else steps[s].detach() for s in range(max(0, t - memory), t + 1)]


def _layer(weights, heads, past):
    x = past[-1]
    visible = [_norm(weights, "norm", row) for row in past]
    query = linear(weights, "query", visible[-1])
    requested = [(query + weights[name]).chunk(heads) for name in ("content_bias", "age_bias")]
    reads = []
    for h in range(heads):
        scores, values = [], []
        for age, row in zip(reversed(range(len(past))), visible, strict=True):
            key = linear(weights, "key", row).chunk(heads)[h]
            place = linear(weights, "position", _wave(age, len(x))).chunk(heads)[h]
            scores.append((requested[0][h] @ key + requested[1][h] @ place) / math.sqrt(len(key)))
            values.append(linear(weights, "value", row).chunk(heads)[h])
        fractions = torch.stack(scores).exp()
        reads.append(sum(weight * value for weight, value in zip(fractions, values, strict=True)) / fractions.sum())
    x = _gate(weights, "gate", x, linear(weights, "out", torch.cat(reads)).clamp(min=0))
    inner = linear(weights, "mlp.0", _norm(weights, "norm_within", x)).clamp(min=0)
    return _gate(weights, "gate_within", x, linear(weights, "mlp.2", inner).clamp(min=0))


def _norm(weights, name, x):
    scaled = (x - x.mean()) / torch.sqrt(((x - x.mean()) ** 2).mean() + 1e-5)
    return weights[f"{name}.weight"] * scaled + weights[f"{name}.bias"]


def _gate(weights, name, x, y):
    of_y, of_x = weights[f"{name}.of_y.weight"], weights[f"{name}.of_x.weight"]
    w_r, w_z, w_g = of_y.chunk(3)
    u_r, u_z = of_x.chunk(2)
    r = torch.sigmoid(w_r @ y + u_r @ x)
    z = torch.sigmoid(w_z @ y + u_z @ x - weights[f"{name}.bias"])
    new = torch.tanh(w_g @ y + weights[f"{name}.of_reset.weight"] @ (r * x))
    return (1 - z) * x + z * new


def _wave(age, width):
    half = (width + 1) // 2
    angles = [age / 10_000 ** (i / half) for i in range(half)]
    wave = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
    return torch.tensor(wave[:width], dtype=torch.float32).double()  # as precise as the table is
