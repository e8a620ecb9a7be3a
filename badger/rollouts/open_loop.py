"""Reading ahead: where nothing that an agent does changes what it will see, its core takes all steps at once.

Shapes: T step, B episode, E expert, D input.
"""

import torch
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.rollouts.trajectory import Carry
from comms import Silent
from tasks import Task


def try_open_loop(agent: Agent, task: Task, carry: Carry, rng: torch.Generator, steps: int) -> "Agent | OpenLoopAgent":
    """The agent; or what gives the same, faster, where all that the core will be told in the next steps is known now.

    It is where the task is `open_loop`, the episode does not end in between, and the experts do not talk. An agent
    that is stepped in another way (compiled, rounded) is left alone, and so is a core with losses, for they are told
    step by step.
    """
    known = task.open_loop and task.fixed_length and carry.elapsed + steps <= task.steps
    everyone = carry.agent_state.present is None and carry.step.present is None
    plain = type(agent) is Agent and "forward" not in vars(agent) and everyone
    silent = type(agent.bus) is Silent and agent.comm_rounds == 1
    if not (known and plain and silent) or agent.core.losses(carry.agent_state.core):
        return agent
    return OpenLoopAgent(agent, carry.agent_state, task.preview(carry.env_state, carry.step, steps, rng.clone_state()))


class OpenLoopAgent:
    """An agent that has read the observations to come, a list of T; call it as one would call the agent.

    The state that it gives is the one of the beginning, until the last step gives that of the end.
    """

    def __init__(self, agent: Agent, state: AgentState, seen: list[Tensor]):
        self.act, self.t = agent.act, 0
        told = torch.cat([state.inbox, state.identity], -1).expand(len(seen), -1, -1, -1)
        experts, outputs = state.identity.shape[1], agent.num_outputs(state.assignment)
        sensed = torch.stack([agent.sense(obs, experts, outputs) for obs in seen])
        self.ys, core = agent.core.unroll(torch.cat([sensed, told], -1), state.core)  # (T, B, E, D) -> (T, B, E, Y)
        y = self.ys[-1]
        delivery, bus = agent.bus(y, state.edges, state.bus, None)
        self.final_state = state._replace(core=core, bus=bus, y=y, delivery=delivery)

    def __call__(self, obs: Tensor, state: AgentState, rng: torch.Generator | None) -> tuple[Tensor, AgentState]:
        y = self.ys[self.t]
        self.t += 1
        return self.act(y, state.assignment, state.present), self.final_state if self.t == len(self.ys) else state
