"""Reading ahead: where nothing that an agent does changes what it will see, its core takes all steps at once.

Shapes: T step, B episode, E expert, D input.
"""

import torch
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.rollouts.trajectory import Carry
from comms import Silent
from tasks import Task


def ahead(agent: Agent, task: Task, carry: Carry, rng: torch.Generator, steps: int) -> "Agent | Ahead":
    """The agent; or what gives the same, faster, where all that the core will be told in the next steps is known now.

    It is where the task is `open_loop`, the episode does not end in between, and the experts do not talk. An agent
    that is stepped in another way (compiled, rounded) is left alone, and so is a core with losses, for they are told
    step by step.
    """
    known = task.open_loop and task.fixed_length and carry.elapsed + steps <= task.steps
    everyone = carry.state.present is None and carry.step.present is None
    plain = type(agent) is Agent and "forward" not in vars(agent) and everyone
    silent = type(agent.bus) is Silent and agent.ticks == 1
    if not (known and plain and silent) or agent.core.losses(carry.state.core):
        return agent
    return Ahead(agent, carry.state, task.preview(carry.world, carry.step, steps, rng.clone_state()))


class Ahead:
    """An agent that has read the observations to come, a list of T; call it as one would call the agent.

    The state that it gives is the one of the beginning, until the last step gives that of the end.
    """

    def __init__(self, agent: Agent, state: AgentState, seen: list[Tensor]):
        self.act, self.done = agent.act, 0
        told = torch.cat([state.inbox, state.identity], -1).expand(len(seen), -1, -1, -1)
        experts, outputs = state.identity.shape[1], agent.outputs_of(state.address)
        sensed = torch.stack([agent.sense(obs, experts, outputs) for obs in seen])
        self.ys, core = agent.core.unroll(torch.cat([sensed, told], -1), state.core)  # (T, B, E, D) -> (T, B, E, Y)
        y = self.ys[-1]
        delivery, bus = agent.bus(y, state.edges, state.bus, None)
        self.last = state._replace(core=core, bus=bus, y=y, delivery=delivery)

    def __call__(self, obs: Tensor, state: AgentState, rng: torch.Generator | None) -> tuple[Tensor, AgentState]:
        y = self.ys[self.done]
        self.done += 1
        return self.act(y, state.address, state.present), self.last if self.done == len(self.ys) else state
