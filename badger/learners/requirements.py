"""The requirements of a learner on its task and its agent, class attributes that recipes and checks read.

- `needs_critic`: the agent's act is `act.WithCritic`, whose last output is a value estimate.
- `samples_actions`: its policy is stochastic, as that of every learner with a critic in the agent's act is.
- `samples_numbers`: where actions are sampled, real numbers are, too, from an `act.Gaussian`; else they are the agent's
  outputs.
- `needs_memoryless`: the agent has no memory: its core is `Core.memoryless`, and its experts do not communicate.
- `needs_differentiable`: rewards carry gradient (`Task.differentiable`).
- `takes_distributions`: a `TaskDistribution` is sampled anew in each outer step.
- `action_kinds`: action spaces that it can learn.
- `host_reads`: how often an update reads values on the host (`badger.learners.host`), at most.
- `takes_agents`: an environment of several agents (`Task.agents`), with a reward for each.
- `joins_populations`: several of it train together as a `Population`.
- `needs_previous`: the agent observes its last action and reward; recipes wrap their task (`with_previous`).
- `needs_data`: it learns from recorded episodes, its argument `data`, and lives none.
- `fewest_outer_steps`: of an instance, after which its policy has learned anything.

A learner without one of these attributes has the default of `DEFAULTS`.
"""

from typing import Any

from comms import Silent
from tasks import Continuous, Discrete, Mixed, MultiDiscrete, PreviousActionReward, Task, TaskDistribution, nominal
from tasks.observations import part_index

DEFAULTS: dict[str, Any] = {
    "needs_critic": False,
    "samples_actions": False,
    "samples_numbers": True,
    "needs_memoryless": False,
    "needs_differentiable": False,
    "takes_distributions": False,
    "action_kinds": (Discrete, MultiDiscrete, Continuous, Mixed),
    "host_reads": 1,
    "takes_agents": True,
    "joins_populations": False,
    "needs_data": False,
    "needs_previous": False,
    "fewest_outer_steps": 1,
}


def requirement(learner: Any, name: str) -> Any:
    """The value of a requirement of a learner class or instance.

    Args:
        learner: the learner; a factory without such attributes has the defaults.
        name: one of `DEFAULTS`.

    Raises:
        KeyError: no requirement of that name.
    """
    return getattr(learner, name, DEFAULTS[name])


def samples_actions(learner: Any) -> bool:
    """Whether a learner trains a stochastic policy, whose actions are sampled.

    Args:
        learner: a learner class or instance.
    """
    return requirement(learner, "samples_actions") or requirement(learner, "needs_critic")


def with_previous(learner: Any, task: Task | TaskDistribution) -> Task | TaskDistribution:
    """The task in which the agent observes its last action and reward, where a learner needs that; else as it is.

    Args:
        learner: a learner class or instance.
        task: what is to be learned.
    """
    if not requirement(learner, "needs_previous") or not isinstance(task, Task):
        return task
    return task if part_index(task.obs_parts, "[action]") is not None else PreviousActionReward(task)


def check_task(learner: Any, name: str, task: Task | TaskDistribution) -> None:
    """Refuses a task that a learner cannot learn.

    Args:
        learner: a learner class or instance.
        name: of the learner, for the message.
        task: what is to be learned.

    Raises:
        ValueError: says which requirement is not met.
    """
    kind, single = type(task).__name__, nominal(task)
    if isinstance(task, TaskDistribution) and not requirement(learner, "takes_distributions"):
        raise ValueError(
            f"{kind} draws another task for each outer step, and {name} learns one: give it a single task, such as "
            "sizes that are one number"
        )
    if requirement(learner, "needs_differentiable") and not single.differentiable:
        raise ValueError(
            f"{type(single).__name__} gives rewards without gradient, and {name} needs differentiable rewards; use a "
            "learner of reinforcement learning, such as a2c or ppo, or a task with differentiable=True"
        )
    if single.agents is not None and not requirement(learner, "takes_agents"):
        raise ValueError(
            f"{type(single).__name__} has {single.agents} agents with a reward for each, and {name} learns from one "
            "reward; use another learner, such as ppo or a2c"
        )
    kinds = requirement(learner, "action_kinds")
    if not isinstance(single.action_space, kinds):
        wanted = " or ".join(f"tasks.{one.__name__}" for one in kinds)
        raise ValueError(
            f"{type(single).__name__}: actions are {single.action_space}, and {name} learns {wanted} only; use another "
            "learner"
        )


def check_data_given(learner: Any, name: str, data: Any | None) -> None:
    """Refuses a learner from recorded episodes without any, and another one with some.

    Args:
        learner: a learner class or instance.
        name: of the learner, for the message.
        data: recorded episodes; None: none.

    Raises:
        ValueError: says what to do.
    """
    if requirement(learner, "needs_data") and data is None:
        raise ValueError(
            f"learner {name!r} learns from recorded episodes, and there are none: want badger train offline --data "
            f"FILE --learner {name}"
        )
    if data is not None and not requirement(learner, "needs_data"):
        raise ValueError(
            f"learner {name!r} learns from episodes that the agent lives, not from recorded ones; want a learner such "
            "as behavior_cloning"
        )


def check_outer_steps(learner: Any, name: str, outer_steps: int) -> None:
    """Refuses a training that ends before the policy has learned anything.

    Args:
        learner: a learner instance.
        name: of the learner, for the message.
        outer_steps: of the training.

    Raises:
        ValueError: says how many it takes.
    """
    fewest = requirement(learner, "fewest_outer_steps")
    if outer_steps < fewest:
        raise ValueError(
            f"outer_steps={outer_steps}, want at least {fewest}, better some dozens more: learner {name!r} trains its "
            f"policy after {fewest - 1} outer steps"
        )


def check_critic(learner: Any, name: str, agent: Any) -> None:
    """Refuses an agent with a critic where the learner has no use for it, and one without where it needs it.

    Args:
        learner: a learner class or instance.
        name: of the learner, for the message.
        agent: the agent to be trained.

    Raises:
        ValueError: says how to build the agent.
    """
    has_critic, needed = hasattr(agent.act, "critic"), requirement(learner, "needs_critic")
    if has_critic and not needed:
        raise ValueError(
            f"the agent's last output is a value estimate, which {name} would take for a part of the action; build it "
            "without act.WithCritic"
        )
    if needed and not has_critic:
        raise ValueError(
            f"the agent acts by act.{type(agent.act).__name__}, which has no value estimate, and {name} needs one: "
            "build the agent with act=act.WithCritic(head)"
        )


def check_memory(learner: Any, name: str, agent: Any) -> None:
    """Refuses an agent with a memory where the learner replays single steps.

    Args:
        learner: a learner class or instance.
        name: of the learner, for the message.
        agent: the agent to be trained.

    Raises:
        ValueError: says how to build the agent.
    """
    if not requirement(learner, "needs_memoryless"):
        return
    if not agent.core.memoryless:
        raise ValueError(
            f"the agent's core is a {type(agent.core).__name__}, and {name} replays single steps, from which a memory "
            "cannot be learned: use core feedforward (--core feedforward), or a learner of sequences such as drqn or "
            "r2d2 (--learner drqn)"
        )
    if not isinstance(agent.bus, Silent):
        raise ValueError(
            f"the agent's experts talk by comms.{type(agent.bus).__name__}, and {name} replays single steps without "
            "the messages before them: use bus silent (--bus silent), or a learner of sequences such as drqn or r2d2 "
            "(--learner drqn)"
        )
