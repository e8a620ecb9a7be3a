"""Members that act by weights of their own in rows of one batch act as each would alone."""

import pytest
import torch
from torch.testing import assert_close

from badger.learners.evolution.member_act import member_agent
from toys import game, run, seeded, toy_agent

M, ROWS, EXPERTS = 3, 2, 4


def flat(parameters):
    return torch.cat([parameter.detach().flatten() for parameter in parameters])


@pytest.mark.parametrize("port", ["mean", "named_outputs", "readout"])
def test_a_member_acts_as_an_agent_with_its_weights(port):
    """Also where an assignment of outputs is drawn for each episode, and experts are absent."""
    task, agent = game(), toy_agent(port=port, bus="silent")
    members = flat(agent.act.parameters()) + torch.randn(M, 1, generator=seeded(1), dtype=torch.float64)
    acting, obs = member_agent(agent, members), torch.randn(3, M * ROWS, 1, generator=seeded(2), dtype=torch.float64)
    state = acting.remove(acting.initial_state(obs[0], seeded(3), EXPERTS, task.action_space.size), [1])
    together, _ = run(acting, state, obs)
    whole, _ = run(agent, state, obs)
    assert together.shape == whole.shape and not torch.equal(together, whole)
    for i, member in enumerate(members):
        alone = toy_agent(port=port, bus="silent")
        torch.nn.utils.vector_to_parameters(member, alone.act.parameters())
        rows = slice(i * ROWS, (i + 1) * ROWS)
        assert_close(together[:, rows], run(alone, state, obs)[0][:, rows])


def test_all_other_parts_are_shared():
    agent = toy_agent(bus="silent")
    acting = member_agent(agent, flat(agent.act.parameters()).expand(M, -1))
    assert acting.core is agent.core and acting.sense is agent.sense and acting.bus is agent.bus
