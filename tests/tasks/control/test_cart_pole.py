"""Cart pole against that of Gymnasium."""

import pytest
import torch
from torch.testing import assert_close

from badger import CartPole
from tasks.control.cart_pole import THETA_THRESHOLD, X_THRESHOLD
from toys import seeded

TASK = CartPole(dtype=torch.float64)


def test_its_motion_is_that_of_gymnasium_until_the_pole_falls():
    gymnasium = pytest.importorskip("gymnasium")
    world = gymnasium.make("CartPole-v1")
    state, _ = TASK.reset(8, seeded())
    for row in range(8):
        world.reset(seed=row)
        motion = state.motion[row : row + 1]
        world.unwrapped.state = motion[0].numpy()
        now, rng, over = state._replace(motion=motion, t=state.t[:1]), seeded(row), False
        while not over:
            action = torch.randint(2, (1,), generator=rng)
            now, step = TASK.step(now, action, rng)
            obs, *results, _ = world.step(action.item())
            assert_close(step.obs[0], torch.tensor(world.unwrapped.state), rtol=1e-13, atol=1e-15)
            assert_close(step.obs[0].float(), torch.tensor(obs), rtol=1e-6, atol=1e-8)
            assert [step.reward.item(), step.terminated.item(), step.truncated.item()] == results
            over = any(results[1:])


def balanced(task, batch=4, seed=0):
    """Who pushes where the pole falls to: the returned steps, while all are up."""
    rng = seeded(seed)
    state, _ = task.reset(batch, rng)
    results = []
    for _ in range(task.steps):
        place, speed, angle, turning = state.motion.unbind(-1)
        push = angle + 0.3 * turning + 0.02 * place + 0.05 * speed > 0
        state, step = task.step(state, push.long(), rng)
        results.append(step)
    return results


def test_who_sees_the_velocities_can_balance_it_to_the_end_which_is_a_truncation():
    results = balanced(TASK)
    assert not any((step.terminated | step.truncated).any() for step in results[:-1])
    assert results[-1].truncated.all() and not results[-1].terminated.any()
    assert (results[-1].scores["episodic_return"] == TASK.references()["episodic_return"]["optimum"]).all()
    assert all(step.scores["episodic_return"].isnan().all() and (step.reward == 1).all() for step in results[:-1])


@pytest.mark.parametrize(("number", "bound"), [(0, X_THRESHOLD), (2, THETA_THRESHOLD)])
@pytest.mark.parametrize("side", [-1, 1])
def test_leaving_the_track_or_falling_is_a_termination_even_in_the_last_step(number, bound, side):
    task = CartPole(1, dtype=torch.float64)
    state, _ = task.reset(2, seeded())
    motion = torch.zeros(2, 4, dtype=torch.float64)
    motion[:, number] = torch.tensor([side * bound * 0.999, side * bound * 1.001])
    _, step = task.step(state._replace(motion=motion), torch.tensor([0, 0]), seeded())
    assert step.terminated.tolist() == [False, True] and step.truncated.tolist() == [True, False]
    assert step.scores["episodic_return"].tolist() == [1.0, 1.0]


def test_without_velocities_place_and_angle_are_seen_and_nothing_else():
    blind = CartPole(velocities=False, dtype=torch.float64)
    assert blind.obs_size == 2
    (state, reset_step), (_, other) = blind.reset(5, seeded()), TASK.reset(5, seeded())
    assert torch.equal(reset_step.obs, other.obs[:, [0, 2]])
    action = torch.ones(5, dtype=torch.long)
    seen, all_seen = (task.step(state, action, seeded())[1].obs for task in (blind, TASK))
    assert torch.equal(seen, all_seen[:, [0, 2]])


def test_it_starts_near_the_middle_with_all_four_numbers_alike():
    obs = TASK.reset(20_000, seeded())[1].obs
    assert obs.abs().max() <= 0.05
    assert_close(obs.square().mean(0), torch.full((4,), 0.05**2 / 3, dtype=torch.float64), rtol=0.04, atol=0)


def test_without_memory_hidden_velocities_let_the_pole_fall_soon():
    lines = CartPole(velocities=False).references()["episodic_return"]
    assert 20 < lines["chance"] < 25 and lines["chance"] < lines["memoryless"] < 100 < lines["optimum"] == 500


def test_logits_and_no_steps_are_refused():
    with pytest.raises(ValueError, match="CartPole give no gradient to logits"):
        TASK.step(TASK.reset(2, seeded())[0], torch.randn(2, 2), seeded())
    with pytest.raises(ValueError, match="steps=0, want at least 1"):
        CartPole(0)


def test_mirrored_carts_move_as_mirror_images_under_mirrored_pushes():
    rng, push = seeded(), torch.tensor([0, 1])
    state, step = TASK.mirrored.reset(4, rng)
    for _ in range(3):
        assert_close(step.obs[2:], -step.obs[:2])
        state, step = TASK.step(state, torch.cat([push, 1 - push]), rng)
