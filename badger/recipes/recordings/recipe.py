"""The recipe of learning from recorded episodes."""

import dataclasses
from typing import Any

from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import requirement
from badger.learners.population import member_learners
from badger.recipes.flags import recipe
from badger.recipes.parts import ACT, CORE
from badger.recipes.recordings.data_flags import DataFlags
from badger.recipes.recordings.target_rewards import parse_rewards
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from experts import ask_for_rewards, set_target_return, target_return
from tasks import Task


@recipe(
    {"core": {"decision_transformer": {"hidden_size": 128}}},
    **SINGLE_EXPERT_DEFAULTS
    | {"core": "gru", "learner": "behavior_cloning", "lr": 1e-3, "schedule": "cosine", "outer_steps": 2000}
    | {"evaluate_every": 200},
)
def offline(setup: Setup, recorded: DataFlags) -> Run:
    """An agent learns from recorded episodes, and is judged in their task: `badger train offline --data data.h5`.

    Learners: behavior_cloning of any agent, percent_bc of the best episodes alone, and decision_transformer, whose core
    is the one of that name, where no other is given. Evaluations on held-out episodes decide best.pt. In a task of
    several agents one expert acts for each, where no number of experts is given.
    """
    data, learner = recorded.load(setup.seed), setup.learner
    previous = requirement(learner.factory, "needs_previous")
    recorded = recorded.resolve(data, previous=previous)
    task = recorded.make_task()
    recorded.check(data, task)
    if previous and setup.core.name == "gru":
        setup = dataclasses.replace(setup, core=CORE(learner.name))
    setup = dataclasses.replace(setup, core=setup.core.with_defaults(_conditions(data, task)))
    setup = _with_teams(setup, task)
    run = setup.make_run(task, data=data)
    agent = member_learners(run.learner)[0].agent
    ask(agent, recorded.target_return, recorded.target_rewards)
    options = {f"core.{name}": value for name, value in setup.core.options.items()}
    asked = {} if recorded.target_rewards else {"target_return": target_return(agent)}
    run.resolved = recorded.arguments | {"core": setup.core.name} | asked | options
    return run


def ask(agent: Agent, target_return: float | None, target_rewards: tuple[str, ...]) -> None:
    """Asks an agent for a return, or for rewards, where one of them is given.

    Args:
        agent: with a core that is asked for one.
        target_return: the return.
        target_rewards: the rewards, as in `parse_rewards`.

    Raises:
        ValueError: both are given, or the agent is not asked for a return.
    """
    if target_return is not None and target_rewards:
        raise ValueError(f"target_rewards={' '.join(target_rewards)}: target_return is given, too; want one of them")
    if target_return is not None:
        set_target_return(agent, target_return)
    if target_rewards:
        ask_for_rewards(agent, parse_rewards(target_rewards))


def _with_teams(setup: Setup, task: Task) -> Setup:
    """In a task of several agents: their head in place of the recipe's, and an expert for each in place of one."""
    if task.agents is None:
        return setup
    act = ACT("team") if setup.act.name == SINGLE_EXPERT_DEFAULTS["act"] else setup.act
    experts = task.agents if setup.experts == SINGLE_EXPERT_DEFAULTS["experts"] else setup.experts
    return dataclasses.replace(setup, act=act, experts=experts)


def _conditions(data: EpisodeDataset, task: Task) -> dict[str, Any]:
    """Options of a core that is asked for a return: the best one in the data, their scale, and the longest episode."""
    if data.agents is not None:
        return {}
    scale = float(data.returns.abs().max())
    return {
        "target_return": data.best_return,
        "return_scale": scale if scale > 0 else 1.0,
        "max_time": max(int(data.length.max()), min(task.steps, 1024)),
    }
