"""What the tests of learners share: agents with a critic, gradients and weights as lists, small tasks."""

import torch

from badger import RepeatPrevious, act
from experts import GRU
from toys import Steps, seeded, toy_agent

NEVER = 1e9  # a norm that clips nothing
REPEAT = RepeatPrevious(5, 2, symbols=3, dtype=torch.float64)
STEPS = Steps(dtype=torch.float64)


def valued(task, *, seed=0, **options):
    agent = toy_agent(task, seed=seed, **options)
    agent.act = act.WithCritic(agent.act).double()
    torch.nn.init.normal_(agent.act.critic.linear.weight, generator=seeded(seed))  # a critic that knows something
    return agent


def slopes(agent):
    return [torch.zeros_like(p) if p.grad is None else p.grad.clone() for p in agent.parameters()]


def flat(agent):
    return torch.cat([p.detach().flatten() for p in agent.parameters()])


class Restless(GRU):
    """A GRU with a loss of its own."""

    def losses(self, state):
        return {"size": state.h.square().sum((1, 2))}


class Paid(Steps):
    """Each of 4 experts has a reward of its own."""

    def _make_step(self, state, reward):
        return super()._make_step(state, reward)._replace(reward=reward.unsqueeze(-1).expand(-1, 4))
