"""Helpers of the tests of learners: agents with a critic, gradients and parameters, small tasks."""

import torch

from badger import RepeatPrevious, act
from experts import GRU
from toys import Steps, seeded, toy_agent

NEVER = 1e9  # a gradient norm that is never reached
REPEAT = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
STEPS = Steps(dtype=torch.float64)


def agent_with_critic(task, *, seed=0, **options):
    agent = toy_agent(task, seed=seed, **options)
    agent.act = act.WithCritic(agent.act).double()
    torch.nn.init.normal_(agent.act.critic.linear.weight, generator=seeded(seed))  # not a constant critic
    return agent


def slopes(agent):
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in agent.parameters()]


def flat(agent):
    return torch.cat([p.detach().flatten() for p in agent.parameters()])


class LossyGRU(GRU):
    """A GRU with an auxiliary loss."""

    def losses(self, state):
        return {"size": state.h.square().sum((1, 2))}


class PerExpertRewards(Steps):
    """Walks with a reward for each of 4 experts."""

    def _make_step(self, state, reward):
        return super()._make_step(state, reward)._replace(reward=reward.unsqueeze(-1).expand(-1, 4))
