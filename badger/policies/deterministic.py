"""The choice of an evaluation between the most likely actions and sampled ones."""

from badger.policies.policies import Greedy, Policy, Sampled


def choose_deterministic(policy: Policy, deterministic: bool | None) -> Policy:
    """A policy, or its deterministic or sampled form.

    Args:
        policy: one with an action space, such as `Sampled`; or one without, which is deterministic.
        deterministic: True: the most likely action, or the mean; False: a sampled action; None: the policy as it is.

    Raises:
        ValueError: False, and the policy has no action space to sample from.
    """
    space = getattr(policy, "space", None)
    if deterministic is None or (deterministic and space is None):
        return policy
    if space is None:
        name = getattr(policy, "__name__", type(policy).__name__)
        raise ValueError(f"deterministic=False: the policy {name} has no actions to sample; leave deterministic out")
    return Greedy(space) if deterministic else Sampled(space)
