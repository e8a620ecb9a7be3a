"""A transformer over tokens and a search over all plans in NumPy, one token and plan at a time: slow and obvious."""

import itertools
from math import erf, sqrt

import numpy as np


def normalized(x, weights, name):
    """Layer normalization."""
    scale = (x - x.mean()) / np.sqrt(x.var() + 1e-5)
    return scale * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return weights[f"{name}.weight"] @ x + weights[f"{name}.bias"]


def next_logits(weights, tokens, dims, next_dim, heads, layers):
    """Logits of the token after these; weights: of a `TokenTransformer`."""
    xs = [
        weights["embedding"][d, t] + weights["position"][i] for i, (d, t) in enumerate(zip(dims, tokens, strict=True))
    ]
    for n in range(layers):
        layer = f"layers.{n}"
        qkv = [linear(normalized(x, weights, f"{layer}.norm"), weights, f"{layer}.qkv") for x in xs]
        size = len(xs[0]) // heads
        out = []
        for i, x in enumerate(xs):
            read = []
            for h in range(heads):
                part = [v.reshape(3, heads, size)[:, h] for v in qkv[: i + 1]]
                scores = np.exp([part[-1][0] @ key / sqrt(size) for _, key, _ in part])
                read.append(sum(s * value for s, (_, _, value) in zip(scores / scores.sum(), part, strict=True)))
            y = x + linear(np.concatenate(read), weights, f"{layer}.merge")
            inner = linear(normalized(y, weights, f"{layer}.norm_within"), weights, f"{layer}.mlp.0")
            inner = np.array([v * (1 + erf(v / sqrt(2))) / 2 for v in inner])
            out.append(y + linear(inner, weights, f"{layer}.mlp.2"))
        xs = out
    return weights["out"][next_dim] @ normalized(xs[-1], weights, "norm") + weights["bias"][next_dim]


def softmax(logits):
    exps = np.exp(logits - logits.max())
    return exps / exps.sum()


def plan_score(predict, centers, tokens, dims, layout, actions, gamma, likelihood):
    """The score of a plan with these actions: states, rewards and values are the most likely ones.

    predict: (tokens, dims, next_dim) -> probabilities; centers: values of the bins of each number.
    """
    tokens, dims, total, log_likelihood, alive = list(tokens), list(dims), 0.0, 0.0, 1.0
    first, reward, end, value = layout.first_action, layout.size - 3, layout.size - 2, layout.size - 1
    goal = tokens[: len(layout.goals)]  # the plan ends where the state equals it
    for h, action in enumerate(actions):
        log_likelihood += alive * np.log(predict(tokens, dims, first)[action])
        tokens, dims = [*tokens, action], [*dims, first]
        probs = predict(tokens, dims, reward)
        total += gamma**h * alive * (probs @ centers[reward])
        tokens, dims = [*tokens, int(probs.argmax())], [*dims, reward]
        probs = predict(tokens, dims, end)
        alive *= 1 if goal else 1 - probs[1]
        tokens, dims = [*tokens, int(probs.argmax())], [*dims, end]
        probs = predict(tokens, dims, value)
        score = total + gamma ** (h + 1) * alive * (probs @ centers[value])
        for dim in (value, *range(first)) if h + 1 < len(actions) else ():
            tokens, dims = [*tokens, int(predict(tokens, dims, dim).argmax())], [*dims, dim]
        if goal and [tokens[len(tokens) - first + dim] for dim in layout.goal_dims] == goal:
            alive = 0.0
    return log_likelihood if likelihood else score


def best_plan(predict, centers, tokens, dims, layout, horizon, gamma, likelihood):
    """The first action of the best of all plans, and its score."""
    options = range(layout.choices[0])
    scores = {
        actions: plan_score(predict, centers, tokens, dims, layout, actions, gamma, likelihood)
        for actions in itertools.product(options, repeat=horizon)
    }
    best = max(scores, key=scores.__getitem__)
    return best[0], scores[best]


def value_to_go(rewards, gamma):
    """V_t = sum over k > t of gamma^(k - t - 1) r_k, without r_t."""
    return [sum(gamma ** (k - t - 1) * rewards[k] for k in range(t + 1, len(rewards))) for t in range(len(rewards))]
