"""Policies: from the output of an agent to an action, and the probability of it.

policies.py   `Sampled`, `Greedy`, `EpsilonGreedy` and the registry `POLICIES`; `direct`, where the output is the
              action; log-probabilities and entropies of discrete actions
gaussian.py   the same of continuous actions: a normal distribution, cut to the bounds of the action

A policy is a callable (output, legal, rng) -> action: the type `Policy` in policies.py.
"""
