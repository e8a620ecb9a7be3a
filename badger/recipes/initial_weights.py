"""Orthogonal first weights of an agent, with a small policy head."""

import torch
from torch import Tensor, nn

from badger.agent import Agent
from experts.recurrent.cell import Cell


@torch.no_grad()
def orthogonal_(agent: Agent, *, head_gain: float = 0.01, input_gain: float = 1.0) -> None:
    """Makes the linear maps of sense, core, bus and output head orthogonal, and sets their biases to 0.

    Recurrent weights of gated cells are orthogonal already; here their input weights follow, gate by gate. The head is
    small, so that the first policy is close to uniform, or its mean close to the center; a critic stays as it is.
    Draws from torch's default generator.

    Args:
        agent: the agent, changed in place.
        head_gain: gain of the output head.
        input_gain: gain of the input weights of gated cells.

    Source: Saxe et al. 2014, arXiv:1312.6120; Andrychowicz et al. 2021, arXiv:2006.05990, section 3.2.
    """
    critic = getattr(agent.act, "critic", None)
    untouched = set() if critic is None else set(critic.modules())
    head = set(agent.act.modules())
    for module in agent.modules():
        if isinstance(module, Cell):
            for gate in module.weight_ih.chunk(module.gates):
                _orthogonal(gate, input_gain)
            nn.init.zeros_(module.bias_ih)
            nn.init.zeros_(module.bias_hh)
        elif isinstance(module, nn.Linear) and module not in untouched:
            _orthogonal(module.weight, head_gain if module in head else 2**0.5)
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def _orthogonal(weight: Tensor, gain: float) -> None:
    weight.copy_(nn.init.orthogonal_(torch.empty_like(weight), gain))  # a part of a parameter is not contiguous
