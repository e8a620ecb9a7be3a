"""A trained agent of a run folder, to act in an environment."""

import os
from collections.abc import Callable, Collection

from badger.learners.population import choose_member
from badger.policies.deterministic import policy_for_env
from badger.recipes.build import load_run
from badger.rollouts.actor import Actor
from badger.runs.protocol import DETERMINISTIC, SAMPLED, evaluation_policies
from badger.runs.run import Run


def load_actor(
    folder: str | os.PathLike[str],
    *,
    member: int = 0,
    best: bool = False,
    seed: int = 0,
    build: Callable[[], Run] | None = None,
    trusted: Collection[str] = (),
) -> Actor:
    """Loads the trained agent of a run folder, for `action, state = actor.predict(obs, state)`.

    A folder is data, which may come from a stranger: code that it names is imported only as `badger.load_run` does.

    Args:
        folder: run folder.
        member: index of an agent in a population, from 0 on.
        best: of best.pt, not of the last checkpoint.
        seed: of sampled actions and of the experts' identities.
        build: as in `badger.load_run`.
        trusted: as in `badger.load_run`.

    Raises:
        ValueError: no such member; and as `badger.load_run`.
    """
    learner = choose_member(load_run(folder, build, best, trusted).learner, member)
    task, policies = learner.task.evaluation_task, evaluation_policies(learner)
    deterministic = policy_for_env(policies[DETERMINISTIC], task.action_space)
    return Actor(learner.agent, task, deterministic, policies.get(SAMPLED), seed=seed)
