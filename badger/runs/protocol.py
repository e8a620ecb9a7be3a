"""The evaluation protocol of a run: by which policies its agents are judged, and in how many episodes."""

from badger.evaluation.batches import default_episodes
from badger.learners import Learner, requirement
from badger.policies.policies import Greedy, Policy, Sampled

DETERMINISTIC, SAMPLED = "deterministic", "sampled"


def evaluation_policies(learner: Learner) -> dict[str, Policy]:
    """The policies of evaluations by name; the first is the learner's own, of an evaluation that names none.

    An agent that is trained as a stochastic policy may be judged by sampled actions and by the most likely ones. The
    answers of other agents are deterministic.

    Args:
        learner: of one agent.
    """
    own, space = learner.eval_policy, learner.task.action_space
    if not requirement(learner, "needs_critic"):
        return {DETERMINISTIC: own}
    both: dict[str, Policy] = {DETERMINISTIC: Greedy(space), SAMPLED: Sampled(space)}
    first = next((name for name, policy in both.items() if policy == own), "own policy")
    return {first: own, **both}


def trained_env_steps(learner: Learner) -> int:
    """The environment steps that a learner has trained on, over all copies and processes.

    Args:
        learner: of one agent; one that does not count them (`env_steps`) is taken to train on one whole episode in each
            outer step.
    """
    return int(getattr(learner, "env_steps", learner.step * learner.task.steps))


def learner_episodes(learner: Learner) -> int | None:
    """The default number of episodes by which a learner's agent is judged, `default_episodes` of its training.

    Args:
        learner: of one agent.
    """
    return default_episodes(learner.task.evaluation_task, trained_env_steps(learner))
