"""The one choice between the most likely actions of a policy, sampled ones, and the policy as it is."""

from dataclasses import replace

from badger.policies.mixed import Product
from badger.policies.policies import Greedy, MeanAction, Policy, Sampled, identity_policy
from tasks import ActionSpace, Continuous, Mixed


def choose_deterministic(policy: Policy, deterministic: bool | None, space: ActionSpace | None = None) -> Policy:
    """A policy, or its deterministic or sampled form.

    Args:
        policy: one with an action space, such as `Sampled`; or one without, which is deterministic.
        deterministic: True: the most likely action, or the mean; False: a sampled action; None: the policy as it is.
        space: the action space, of a policy that does not have it.

    Raises:
        ValueError: False, and there is no action space to sample from.
    """
    space = getattr(policy, "space", space)
    if deterministic is None or (deterministic and space is None):
        return policy
    if space is None:
        name = getattr(policy, "__name__", type(policy).__name__)
        raise ValueError(f"deterministic=False: the policy {name} has no actions to sample; leave deterministic out")
    if isinstance(policy, Product) and isinstance(policy.numbers, MeanAction):  # whose real numbers are never sampled
        return replace(policy, choices=(Greedy if deterministic else Sampled)(policy.space.choices))
    return Greedy(space) if deterministic else Sampled(space)


def policy_for_env(policy: Policy, space: ActionSpace) -> Policy:
    """The policy for external environments: the most likely actions in place of logits, which only our tasks take.

    Args:
        policy: the policy of the agent.
        space: the action space of the task.
    """
    takes_output = policy is identity_policy and not isinstance(space, Continuous)
    return choose_deterministic(policy, True if takes_output else None, space)


def deterministic_policy(space: ActionSpace) -> Policy:
    """The policy of the most likely choices and of the means of real numbers.

    Args:
        space: the action space.
    """
    if isinstance(space, Mixed):
        return Product(space, Greedy(space.choices), MeanAction(space.numbers))
    return MeanAction(space) if isinstance(space, Continuous) else Greedy(space)
