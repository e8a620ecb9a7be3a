"""Open-loop rollouts: where observations do not depend on actions, the core processes all steps in one call.

Shapes: T step, B episode, E expert, D input.
"""

import torch
from torch import Tensor

from badger.agent import Agent, AgentState
from badger.rollouts.trajectory import Carry
from comms import Silent
from tasks import Task


def try_open_loop(agent: Agent, task: Task, carry: Carry, rng: torch.Generator, steps: int) -> "Agent | OpenLoopAgent":
    """An equivalent, faster agent where all inputs of the core in the next steps are known; else the agent itself.

    They are known where the task is `open_loop`, no episode ends in between, and the experts do not communicate. An
    agent with another `forward` (compiled, bfloat16) and a core with auxiliary losses are stepped as usual.

    Args:
        agent: the agent.
        task: the task.
        carry: the state to start from.
        rng: the generator of the rollout, which is not advanced.
        steps: T.
    """
    known = task.open_loop and task.fixed_length and carry.elapsed + steps <= task.steps
    all_present = carry.agent_state.present is None and carry.step.present is None
    plain = type(agent) is Agent and "forward" not in vars(agent) and all_present
    silent = type(agent.bus) is Silent and agent.comm_rounds == 1
    if not (known and plain and silent) or agent.core.losses(carry.agent_state.core):
        return agent
    return OpenLoopAgent(agent, carry.agent_state, task.preview(carry.env_state, carry.step, steps, rng.clone_state()))


class OpenLoopAgent:
    """An agent whose core has processed all coming observations; called like the agent, step by step.

    It returns the state that it was built with, and in the last step the final state.

    Args:
        agent: the agent.
        state: its state before the first step.
        observations: of each of T steps.
    """

    def __init__(self, agent: Agent, state: AgentState, observations: list[Tensor]):
        self.act, self.t = agent.act, 0
        constant = torch.cat([state.inbox, state.identity], -1).expand(len(observations), -1, -1, -1)
        experts, outputs = state.identity.shape[1], agent.num_outputs(state.assignment)
        inputs = torch.stack([agent.sense(obs, experts, outputs) for obs in observations])
        self.ys, core = agent.core.unroll(torch.cat([inputs, constant], -1), state.core)  # (T, B, E, D -> Y)
        y = self.ys[-1]
        delivery, bus = agent.bus(y, state.edges, state.bus, None)
        self.final_state = state._replace(core=core, bus=bus, y=y, delivery=delivery)

    def __call__(self, obs: Tensor, state: AgentState, rng: torch.Generator | None) -> tuple[Tensor, AgentState]:
        y = self.ys[self.t]
        self.t += 1
        return self.act(y, state.assignment, state.present), self.final_state if self.t == len(self.ys) else state
