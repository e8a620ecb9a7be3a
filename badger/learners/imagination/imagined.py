"""Imagined steps of an agent whose core is a world model, and their returns.

Shapes: H imagined step, R start, F features, O numbers of an observation, A of an action in it.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from badger.agent import Agent
from badger.policies import gaussian
from badger.policies.policies import Policy, Sampled
from experts import random_seeds, with_random_seeds
from experts.state import State
from experts.world_model import WorldModel
from tasks import Continuous, Task
from tasks.wrappers.previous_action_reward import encode_action


class Imagined(NamedTuple):
    """Steps that a policy takes in a world model.

    Args:
        features: of the states before the actions, and of the last one.
        action: of each step; real numbers with the gradient of the policy.
    """

    features: Float[Tensor, "H1 R F"]
    action: Tensor


def imagine(
    agent: Agent,
    task: Task,
    start: State,
    assignment: Tensor | None,
    rng: torch.Generator,
    *,
    steps: int,
    policy: Policy | None = None,
) -> Imagined:
    """Acts in imagination. Only real numbers of an action, and the states that follow them, have a gradient.

    Args:
        agent: of one expert, whose core is a `WorldModel`.
        task: gives the action space.
        start: states of the core, detached.
        assignment: as in `AgentState`, of each start.
        rng: the generator of actions.
        steps: H.
        policy: of the actions; None: sampled ones.
    """
    core, space, actions, state = agent.core, task.action_space, [], start
    assert isinstance(core, WorldModel)
    features = [core.features(state)]  # (R, 1, F)
    with torch.set_grad_enabled(isinstance(space, Continuous)):
        for _ in range(steps):
            output = agent.act(core.out(features[-1].detach()), assignment, None)
            if policy is not None:
                action, _ = policy(output, None, (), rng)
            elif isinstance(space, Continuous):
                shape = *output.shape[:-1], space.size
                noise = torch.randn(shape, generator=rng, device=output.device, dtype=output.dtype)
                action = gaussian.reparameterized(output, noise, space)
            else:
                action, _ = Sampled(space)(output, None, (), rng)
            state = core.imagine(action_inputs(agent, task, action), state)
            actions.append(action)
            features.append(core.features(state))
    return Imagined(torch.stack(features).squeeze(2), torch.stack(actions))


def reseeded(state: State, rng: torch.Generator) -> State:
    """The state with new seeds of its random numbers, so that imagination does not repeat what was drawn before.

    Args:
        state: of a core.
        rng: the generator.
    """
    seeds = random_seeds(state)
    if seeds is None:
        return state
    return with_random_seeds(state, torch.randint(1, 2**63 - 1, seeds.shape, generator=rng, device=seeds.device))


def action_inputs(agent: Agent, task: Task, action: Tensor) -> Float[Tensor, "R 1 A"]:
    """Actions as the core reads them: encoded as in the observation, and as the agent senses it.

    Args:
        agent: its sense is `elementwise`.
        task: a `tasks.PreviousActionReward`.
        action: of each row.
    """
    core = agent.core
    assert isinstance(core, WorldModel)
    start, end = core.target_size, core.target_size + core.action_size
    like = next(agent.parameters())
    encoded = encode_action(task.action_space, action).to(like.dtype)
    before, after = encoded.new_zeros(len(encoded), start), encoded.new_zeros(len(encoded), task.obs_size - end)
    obs = torch.cat([before, encoded, after], -1)
    return agent.sense(obs, 1, task.action_space.size)[..., start:end]


def discounted_returns(
    reward: Float[Tensor, "H *R"], discount: Float[Tensor, "H *R"], value_next: Float[Tensor, "H *R"], *, lam: float
) -> Float[Tensor, "H *R"]:
    """Lambda-returns with a discount of each step: G_t = r_t + d_t ((1 - lam) V_{t+1} + lam G_{t+1}); G_H = V_H.

    Args:
        reward: of each step, predicted from the state that it led to.
        discount: gamma times the probability that the episode goes on after the step.
        value_next: of the state that the step led to.
        lam: weight of the longer returns.

    Source: Hafner et al. 2021 (arXiv:2010.02193), eq. 4.
    """
    returns, following = [], value_next[-1]
    for t in range(len(reward) - 1, -1, -1):
        following = reward[t] + discount[t] * ((1 - lam) * value_next[t] + lam * following)
        returns.append(following)
    return torch.stack(returns[::-1])


def step_weights(start: Float[Tensor, "*R"], discount: Float[Tensor, "H *R"]) -> Float[Tensor, "H *R"]:
    """The discounted probability that each state is reached: of the first 1, or 0 where the episode has ended.

    Args:
        start: of the first states.
        discount: of each step, from its state to the next one.
    """
    return torch.cat([start.unsqueeze(0), discount[:-1]]).cumprod(0)
