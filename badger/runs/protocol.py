"""The evaluation protocol of a run: by which policies its agents are judged, in how many episodes, and in between."""

import math

from badger.evaluation.default_size import SHORTEST_LIMIT, default_evaluation, with_limit
from badger.evaluation.evaluate import evaluate, nan_mean_and_sem
from badger.learners import Learner
from badger.learners.population import member_learners
from badger.learners.requirements import samples_actions
from badger.policies.deterministic import choose_deterministic
from badger.policies.policies import Policy
from badger.rng import generator
from badger.runs.best import EVALUATION, BestFigure
from experts import ask_for_rewards, target_return
from tasks import Task

PERIODIC_EPISODES = 20
"""Sampled episodes of each evaluation within a training."""
PERIODIC_STREAM = "periodic evaluation"
"""The random stream of these episodes: neither that of the training nor that of `badger evaluate`."""
ASKED_STREAM = "asked returns"
"""The random stream of episodes in which an agent is asked for other returns."""
ASKED_QUANTILES = (0.0, 0.25, 0.5, 0.75, 1.0)
"""Of the recorded returns: those that it is asked for."""
DETERMINISTIC, SAMPLED = "deterministic", "sampled"


def evaluation_policies(learner: Learner) -> dict[str, Policy]:
    """The policies of evaluations by name; the first is the learner's own, of an evaluation that names none.

    An agent that is trained as a stochastic policy may be judged by sampled actions and by the most likely ones. The
    answers of other agents are deterministic.

    Args:
        learner: of one agent.
    """
    own, space = learner.eval_policy, learner.task.action_space
    if not samples_actions(learner):
        return {DETERMINISTIC: own}
    both = {name: choose_deterministic(own, name == DETERMINISTIC, space) for name in (DETERMINISTIC, SAMPLED)}
    first = next((name for name, policy in both.items() if policy == own), "own policy")
    return {first: own, **both}


def trained_env_steps(learner: Learner) -> int:
    """The environment steps that a learner has trained on, over all copies and processes.

    Args:
        learner: of one agent; one that does not count them (`env_steps`) is taken to train on one whole episode in each
            outer step.
    """
    return int(getattr(learner, "env_steps", learner.step * learner.task.steps))


def learner_evaluation(learner: Learner) -> tuple[Task, int | None]:
    """The task and the number of episodes by which a learner's agent is judged, `default_evaluation` of its training.

    Args:
        learner: of one agent.
    """
    return default_evaluation(learner.task.evaluation_task, trained_env_steps(learner))


def periodic_evaluation(learner: Learner) -> tuple[BestFigure | None, dict[str, float]]:
    """The figure that decides best.pt, the mean return over the same held-out episodes each time, and all mean scores.

    The episodes come from a stream of their own, and no random number of the training is drawn. Those of a finite task
    are all its held-out ones, on which the figure of best.pt is then optimistic; those of an external environment are
    truncated after 1,000 steps, as an agent that has learned little may never end an episode.

    Args:
        learner: of the run; the members of a population are averaged.

    Returns:
        The figure, None where it is not finite; and the means by name, `eval/return` or `eval/return/seed_3`.
    """
    metrics: dict[str, float] = {}
    members, returns, episodes = member_learners(learner), [], 0
    for member in members:
        task = with_limit(member.task.evaluation_task, SHORTEST_LIMIT)
        device = next(member.agent.parameters()).device
        count = None if task.num_episodes is not None else PERIODIC_EPISODES
        rng = generator(member.seed, PERIODIC_STREAM, device=device)
        scores = evaluate(member.agent, task, count, rng, member.eval_policy)
        suffix = f"/seed_{member.seed}" if len(members) > 1 else ""
        metrics |= {f"eval/{name}{suffix}": nan_mean_and_sem(values)[0] for name, values in scores.items()}
        returns.append(metrics[f"eval/return{suffix}"])
        episodes += len(scores["return"])
    finite = [value for value in returns if math.isfinite(value)]  # without members that have diverged
    mean = sum(finite) / len(finite) if finite else math.nan
    return (BestFigure(EVALUATION, episodes, mean) if finite else None), {**metrics, "eval/return": mean}


def achieved_returns(learner: Learner) -> dict[float, tuple[float, float]]:
    """What an agent achieves when it is asked for the returns of recorded episodes, from the lowest to the highest.

    The same episodes are played for each of them, and what the agent is asked for is afterwards as before.

    Args:
        learner: of one agent; with recorded episodes.

    Returns:
        By return, mean and standard error of what is achieved; none for an agent that is not asked for a return.
    """
    agent, data = learner.agent, getattr(learner, "data", None)
    if target_return(agent) is None or data is None or data.agents is not None:
        return {}
    order, achieved = data.returns.argsort(stable=True), {}
    kept = {name: buffer.clone() for name, buffer in agent.named_buffers()}
    task = with_limit(learner.task.evaluation_task, SHORTEST_LIMIT)
    rng = generator(learner.seed, ASKED_STREAM, device=next(agent.parameters()).device)
    for share in ASKED_QUANTILES:
        episode = data[order[round(share * (len(order) - 1))].unsqueeze(0)]
        reward = episode.reward[0, : int(episode.length[0])]
        ask_for_rewards(agent, reward)
        count = None if task.num_episodes is not None else PERIODIC_EPISODES
        scores = evaluate(agent, task, count, rng.clone_state(), learner.eval_policy)
        achieved[float(reward.sum())] = nan_mean_and_sem(scores["return"])
    for name, buffer in agent.named_buffers():
        buffer.copy_(kept[name])
    return achieved
