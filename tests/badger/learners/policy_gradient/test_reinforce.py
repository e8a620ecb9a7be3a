"""REINFORCE beside backpropagation: on average over its choices, the gradient is that of the expected return."""

import itertools
from dataclasses import dataclass

import pytest
import torch
from torch.testing import assert_close

from badger import Agent, act, build_run, evaluate, generator, sense
from badger.learners import BPTT, PPO, REINFORCE
from badger.policies.deterministic import choose_deterministic
from badger.rng import drawing_from
from badger.rollouts.loop import rollout
from badger.rollouts.trajectory import first_episode_mask, initial_carry, stack_steps
from comms import Silent
from experts import GRU
from tasks import InputTape, MemoryTape, Mixture, Notes, Task, TMaze
from toys import seeded

HIDDEN = 3


def agent_for(task: Task) -> Agent:
    """One expert in float64, with a critic that says something."""
    with drawing_from(generator(0, "tapes")):
        head = act.WithCritic(act.Mean(HIDDEN, task.action_space.size))
        torch.nn.init.normal_(head.critic.linear.weight)
        agent = Agent(
            sense=sense.Broadcast(task.obs_size), core=GRU(task.obs_size, HIDDEN), bus=Silent(HIDDEN), act=head,
            topology="none", experts=1, identity_size=0,
        )  # fmt: skip
    return agent.double()


@dataclass
class Given:
    """A policy that makes given choices, one row of them each step, beside the agent's real numbers."""

    choices: list[torch.Tensor]  # (B, k) for each step
    numbers: int
    t: int = 0

    def __call__(self, output, action_mask, state, rng):
        now, self.t = self.choices[self.t], self.t + 1
        first = output.shape[-1] - 1 - self.numbers
        return torch.cat([now.to(output), output[:, first : first + self.numbers]], -1), state


def every_episode(learner, task):
    """A trajectory with each sequence of choices in one row, its valid steps, and the probability of each row.

    After the end of an episode all choices are equally likely, so that rows that agree before it share its probability.
    """
    space = task.action_space
    options = list(itertools.product(*(range(n) for n in space.choices.nvec)))
    rows = torch.tensor(list(itertools.product(options, repeat=task.steps)))  # (B, T, k)
    start = initial_carry(learner.agent, task, len(rows), seeded())
    policy = Given(list(rows.unbind(1)), space.numbers.size)
    trajectory, _ = rollout(learner.agent, task, start, seeded(), policy, steps=task.steps)
    mask = trajectory.active & first_episode_mask(trajectory)
    logits = trajectory.output[..., : space.choices.size].masked_fill(
        ~stack_steps(trajectory.action_masks), torch.finfo(torch.float64).min
    )
    parts = [part.log_softmax(-1) for part in logits.split(list(space.choices.nvec), -1)]
    chosen = sum(part.gather(-1, rows[:, :, i].T.unsqueeze(-1)).squeeze(-1) for i, part in enumerate(parts))
    probability = torch.where(mask, chosen.exp(), 1 / len(options)).prod(0)
    return trajectory, mask, probability


def fixed_symbols(state):
    """The same tape in every row, as all rows are one episode."""
    if hasattr(state, "inner"):
        return state._replace(inner=fixed_symbols(state.inner))
    return state._replace(symbols=torch.ones_like(state.symbols))


class Ones(InputTape):
    """A tape whose symbols are all 1."""

    def reset(self, batch, rng):
        state, _ = super().reset(batch, rng)
        state = fixed_symbols(state)
        zeros = torch.zeros(batch, dtype=self.dtype)
        return state, self._make_step(state, zeros, torch.full_like(zeros, torch.nan))


TASKS = {
    "input tape": lambda: Ones(1, 2, dtype=torch.float64),
    "memory tape": lambda: MemoryTape(Ones(1, 2, forward=True, dtype=torch.float64), cells=2, size=1),
}


@pytest.mark.parametrize("make", TASKS.values(), ids=TASKS)
def test_the_expected_gradient_is_that_of_the_expected_return(make):
    task = make()
    learner = REINFORCE(agent_for(task), task)
    parameters = [p for p in learner.agent.parameters() if p.requires_grad]
    trajectory, mask, probability = every_episode(learner, task)
    assert_close(probability.sum(), torch.ones_like(probability[0]))
    returns = torch.where(mask, trajectory.reward, 0).sum(0)
    exact = torch.autograd.grad((probability * returns).sum(), parameters, retain_graph=True, allow_unused=True)
    terms = learner._loss_terms(trajectory, *learner._returns(trajectory, torch.zeros_like(returns)))
    loss = sum(torch.where(mask, terms[name], 0).sum(0) for name in ("policy_loss", "pathwise_loss"))
    estimated = torch.autograd.grad((probability.detach() * loss).sum(), parameters, allow_unused=True)
    compared = [(a, b) for a, b in zip(exact, estimated, strict=True) if a is not None and a.abs().sum() > 1e-9]
    assert len(compared) >= 6  # of the core and the head; not of the critic
    for want, got in compared:
        assert_close(-got, want, rtol=1e-7, atol=1e-10)


def test_moves_and_symbols_are_learned_together():
    task = InputTape(1, 2)
    learner = REINFORCE(agent_for(task).float(), task, batch=32, lr=0.1)
    for _ in range(15):
        metrics = learner.update()
    assert metrics["accuracy"] > 0.9 and metrics["return"] > -0.5


def test_each_update_draws_a_length():
    learner = REINFORCE(agent_for(InputTape(1, 2)), Mixture([InputTape(n, 2, dtype=torch.float64) for n in (1, 4)]))
    steps = set()
    for _ in range(6):
        before = learner.env_steps
        learner.update()
        steps.add((learner.env_steps - before) // learner.batch)
    assert steps == {3, 9}


def test_evaluations_choose_or_sample_and_leave_real_numbers_as_they_are():
    task = MemoryTape(InputTape(2, 3, dtype=torch.float64), cells=2, size=1)
    learner = REINFORCE(agent_for(task), task)
    for deterministic in (True, False):
        policy = choose_deterministic(learner.eval_policy, deterministic)
        assert evaluate(learner.agent, task, 4, seeded(), policy)["accuracy"].shape == (4,)
    output = torch.randn(5, task.action_space.size + 1, dtype=torch.float64, generator=seeded())
    action, _ = learner.rollout_policy(output, None, (), seeded())
    assert torch.equal(action[:, 3:], output[:, task.action_space.choices.size : -1])


def test_a_task_of_choices_alone_has_no_gradient_of_rewards():
    task = Notes(TMaze(2, dtype=torch.float64), bits=1)
    assert REINFORCE(agent_for(task), task).update()["finite"]


def test_real_numbers_without_a_gradient_are_refused():
    task = Notes(TMaze(2), size=1)
    with pytest.raises(ValueError, match=r"Notes: the real numbers of its actions, .* get no gradient from its"):
        REINFORCE(agent_for(task), task)


@pytest.mark.parametrize("learner", [BPTT, PPO])
def test_other_learners_refuse_or_sample_the_numbers(learner):
    task = InputTape(1, 2, dtype=torch.float64)
    with pytest.raises(ValueError, match="InputTape: actions are Mixed"):
        learner(agent_for(task), task)


def test_a_run_from_the_command_line_is_of_the_wanted_tape():
    tiny = {"core.hidden_size": 3, "batch": 2, "outer_steps": 1, "device": "cpu"}
    run = build_run("input_tape", length=3, cells=4, forward=True, order="copy", symbols=2, **tiny)
    assert run.learner.task == MemoryTape(InputTape(3, 2, "copy", True), 4, 8)
    assert run.learner.update()["finite"]
    drawn = build_run("input_tape", length=(1, 3), curriculum_steps=(1, 4), **tiny).learner
    assert [task.nominal.length for task in drawn.tasks.tasks[:-1]] == [1, 2, 3] and drawn.task.length == 3
