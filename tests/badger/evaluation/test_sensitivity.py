"""What an answer depends on, compared with derivatives worked out by hand and by torch."""

import pytest
import torch
from torch.testing import assert_close

from badger import RepeatPrevious, generator, initial_carry
from badger.evaluation.sensitivity import answer_sensitivity, group_means, plot_sensitivities
from toys import Walk, toy_agent

TASK = RepeatPrevious(5, 2, dtype=torch.float64)


def test_the_sensitivity_is_the_norm_of_the_jacobian_of_the_last_output():
    agent = toy_agent(TASK, core="episodic")
    found = answer_sensitivity(agent, TASK, generator(0, "look"), 3)
    start = initial_carry(agent, TASK, 3, generator(0, "look"))
    obs = torch.stack([start.step.obs, *TASK.preview(start.env_state, start.step, 5, generator(0, "x"))[1:]])

    def last_output(obs):
        state = start.agent_state
        for step in obs:
            output, state = agent(step, state, generator(0, "unused"))
        return output

    jacobian = torch.autograd.functional.jacobian(last_output, obs)  # (B, A, T, B, O)
    own = torch.stack([jacobian[b, :, :, b] for b in range(3)])  # (B, A, T, O)
    assert_close(found, own.square().sum((1, 3)).sqrt())


def test_without_memory_the_answer_depends_on_the_last_step_alone():
    found = answer_sensitivity(toy_agent(TASK, core="feedforward", bus="silent"), TASK, generator(0, "look"), 2)
    assert (found[:, :-1] == 0).all() and (found[:, -1] > 0).all()


def test_episodes_of_different_lengths_are_refused():
    with pytest.raises(ValueError, match="Walk has episodes of different lengths, want a task of a fixed length"):
        answer_sensitivity(toy_agent(Walk()), Walk(), generator(0, "look"))


def test_groups_are_averaged_and_scaled_to_their_largest_step():
    rows = torch.tensor([[1.0, 3.0], [3.0, 5.0], [0.0, 0.0]])
    assert group_means(rows, torch.tensor([0, 0, 1])).tolist() == [[0.5, 1.0], [0.0, 0.0]]


def test_the_figure_has_a_map_for_each_agent():
    figure = plot_sensitivities({"a": torch.eye(3), "b": torch.eye(3)}, ["x", "y", "?"], "queried item")
    assert [axes.get_title() for axes in figure.axes] == ["a", "b"]
