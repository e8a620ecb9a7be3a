"""The agents that can be trained in imagination; others are refused in words."""

from typing import TypeVar

from badger.agent import Agent
from badger.learners.requirements import check_critic
from comms import Silent
from experts.world_model import WorldModel
from tasks import Task

Model = TypeVar("Model", bound=WorldModel)


def check_imagining(learner: object, agent: Agent, task: Task, *, model: type[Model], core_name: str) -> Model:
    """The world model of an agent.

    Args:
        learner: the learner class or instance.
        agent: the agent to be trained.
        task: in which it acts.
        model: class of the core.
        core_name: a registered one of it, for the message.

    Raises:
        ValueError: a core that is no world model or is not told the last action, several experts, messages, or a sense
            that is learned; says how to build the agent.
    """
    name, core, sense = type(learner).__name__, agent.core, agent.sense
    check_critic(learner, name, agent)
    if not isinstance(core, model):
        raise ValueError(
            f"the agent's core is a {type(core).__name__}, and {name} learns with a {model.__name__}, which predicts "
            f"what is observed: want core {core_name} (--core {core_name})"
        )
    if any(True for _ in sense.parameters()) or not sense.elementwise:
        raise ValueError(
            f"the agent senses by sense.{type(sense).__name__}, whose numbers are learned or mixed, and {name} "
            "predicts what the core reads: want sense broadcast or scaled (--sense broadcast)"
        )
    if not core.action_size:
        raise ValueError(
            f"the agent's core is not told its last action in {type(task).__name__}, and {name} imagines what follows "
            "an action: want a tasks.PreviousActionReward, and a core that is built with its layout"
        )
    if agent.experts != 1 or type(agent.bus) is not Silent or agent.comm_rounds != 1:
        raise ValueError(
            f"the agent has {agent.experts} experts, comms.{type(agent.bus).__name__} and {agent.comm_rounds} rounds "
            f"of communication, and {name} imagines one expert alone: want --experts 1 --bus silent --comm-rounds 1"
        )
    return core


def check_one_expert(experts: int | None) -> None:
    """Refuses several experts.

    Args:
        experts: the option of a learner.

    Raises:
        ValueError: more than one.
    """
    if experts not in (None, 1):
        raise ValueError(f"experts={experts}, want 1: one expert imagines alone")
