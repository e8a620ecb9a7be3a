"""Evolution by parts of episodes: unbiased, equal to whole episodes where it is the whole, and resumed within one."""

from functools import partial

import pytest
import torch

from badger import BPTT, CartPole, GuessingGame
from badger.learners import Evolution
from badger.rng import generator
from badger.testing import check_learner
from badger.testing.learner import small_agent
from tasks import RandomSizes
from toy_efforts import Effort, effort_agent

GAME = GuessingGame(4, 2, dtype=torch.float64)


def evolution(task=GAME, **options):
    return Evolution(small_agent(task), task, **{"batch": 3, "population": 6, "sigma": 0.1} | options)


def no_learning(step):
    return 0.0


def gradients(agent):
    return torch.cat([parameter.grad.flatten() for parameter in agent.parameters()])


def test_the_gradient_of_one_step_at_a_time_is_that_of_whole_episodes_and_a_truncated_one_is_not():
    task, agent = Effort(dtype=torch.float64), effort_agent()
    BPTT(agent, task, batch=1)._backward(generator(0, "train"))
    exact = gradients(agent)

    def estimate(persistent):
        learner = Evolution(effort_agent(), task, batch=1, population=4000, sigma=1e-3, unroll=1, lr=no_learning)
        total = torch.zeros_like(exact)
        for _ in range(task.steps):
            if not persistent:
                learner.noise = None
            learner.update()
            total += gradients(learner.agent)
        return total

    assert (estimate(persistent=True) - exact).norm() < 0.3 * exact.norm()  # noise of 4,000 members
    assert torch.cosine_similarity(estimate(persistent=False), exact, 0) < -0.9


def test_an_unroll_of_the_whole_episode_is_evolution_by_whole_episodes():
    whole, unrolled = evolution(), evolution(unroll=4, use_ranks=True)
    for _ in range(2):
        first, second = whole.update(), unrolled.update()
        assert all(torch.equal(torch.as_tensor(first[name]), torch.as_tensor(second[name])) for name in first)
        assert torch.equal(gradients(whole.agent), gradients(unrolled.agent))


@pytest.mark.parametrize("task", [GAME, CartPole(12, dtype=torch.float64)])
def test_members_continue_their_episodes_until_the_longest_is_over(task):
    whole = evolution(task)
    parts = evolution(task, unroll=5 if task.steps > 5 else 3, lr=no_learning)
    noise = parts._perturbations(0)
    parts._perturbations = lambda step: noise  # a member keeps its weights
    wanted, found = whole.update(), parts.update()
    assert found["episodes"] == 0
    while not found["episodes"]:
        found = parts.update()
    torch.testing.assert_close((found["return"], found["best_return"]), (wanted["return"], wanted["best_return"]))
    assert parts.env_steps == whole.env_steps == task.steps * 18 and parts.running is None


def test_new_episodes_begin_when_all_have_ended():
    learner = evolution(CartPole(10_000, dtype=torch.float64), batch=1, population=2, unroll=40)
    episodes = [learner.update()["episodes"] for _ in range(2)]
    assert sum(episodes) > 0 and learner.env_steps == 2 * 40 * 2


def test_a_learner_is_resumed_within_an_episode():
    learner = partial(Evolution, batch=2, population=4, unroll=1, noise_rank=1, chunk_size=3)
    properties = ["a_loaded_learner_continues_exactly"]
    check_learner(learner, [GAME, CartPole(9, dtype=torch.float64)], properties=properties)


def test_it_runs_without_values():
    learner = partial(Evolution, batch=2, population=4, unroll=1, noise_rank=1)
    properties = ["an_update_reads_values_on_the_host_at_most_once", "an_update_runs_under_fake_tensor_mode"]
    check_learner(learner, [GAME], properties=properties)


def test_a_state_of_another_population_starts_new_episodes():
    learner, other = evolution(unroll=1), evolution(unroll=1, population=4)
    learner.update()
    other.load_state_dict(learner.state_dict())
    assert other.step == 1 and other.running is None and other.update()["finite"]


def test_a_size_is_kept_until_its_episodes_are_over():
    learner = Evolution(small_agent(GAME), RandomSizes(GAME, {"steps": (3, 6)}), batch=2, population=2, unroll=2)
    ended = [learner.update()["episodes"] for _ in range(9)]
    assert all(metric == 0 or metric == 4 for metric in ended) and ended.count(4) >= 3
