"""T-Maze-Long against values worked out by hand."""

import pytest
import torch

from badger import TMazeLong
from badger.testing.task.cases import play
from toys import seeded

QUIET, NOISY = TMazeLong(5, dtype=torch.float64), TMazeLong(5, True, dtype=torch.float64)


def shown(task, action=0, batch=6):
    """What is seen, (T + 1, B, O), and the steps, when every action is the same."""
    results = play(task, [torch.full((batch,), action)] * task.steps)
    return torch.stack([step.obs for _, step in results]), [step for _, step in results], results[0][0]


@pytest.mark.parametrize("task", [QUIET, NOISY])
def test_observations_show_start_cue_and_end(task):
    seen, _, state = shown(task)
    assert seen[0, :, 0].eq(1).all() and torch.equal(seen[0, :, 1], state.cue.double()) and not seen[0, :, 2].any()
    assert not seen[1:4, :, :3].any()
    assert seen[4:, :, 2].eq(1).all() and not seen[4:, :, :2].any()
    assert set(state.cue.tolist()) == {1, -1}


def test_noise_is_sampled_in_every_step_independent_of_the_cue():
    seen, _, state = shown(NOISY, batch=4000)
    bits = seen[:5, :, 3]
    assert set(bits.unique().tolist()) == {1.0, -1.0}
    everything = torch.cat([bits, state.cue.double().unsqueeze(0)])  # (6, B)
    assert (torch.corrcoef(everything) - torch.eye(6)).abs().max() < 0.06 and everything.mean(1).abs().max() < 0.06


@pytest.mark.parametrize("task", [QUIET, NOISY])
def test_only_the_last_action_is_rewarded(task):
    for action, cue in ((0, 1), (1, -1)):
        _, steps, state = shown(task, action)
        right = state.cue == cue
        assert not any(step.reward.any() for step in steps[:-1])
        assert steps[-1].reward.tolist() == [4.0 if r else -3.0 for r in right]
        assert torch.equal(steps[-1].scores["episodic_return"], steps[-1].reward)
        assert steps[-1].scores["success"].tolist() == right.double().tolist()
        assert all(step.scores["episodic_return"].isnan().all() for step in steps[:-1])
        assert steps[-1].terminated.all() and not steps[-1].truncated.any()


def test_the_references_are_the_means_of_two_fair_outcomes():
    lines = TMazeLong().references()
    assert lines["episodic_return"] == {"optimum": 4.0, "memoryless": 0.5, "chance": 0.5}
    assert lines["success"]["optimum"] == 1


def test_the_words_tell_the_cue_the_noise_and_where_to_turn():
    seen, _, state = shown(NOISY)
    assert QUIET.step_labels(QUIET.reset(1, seeded())[0])[1:] == [".", ".", ".", "turn"]
    for row in range(6):
        words = NOISY.step_labels(state, row)
        assert [word[-1] == "+" for word in words] == (seen[:5, row, 3] > 0).tolist()
        assert words[0][:-1] == ("up" if state.cue[row] > 0 else "down") and words[-1][:-1] == "turn"


def test_logits_and_a_maze_without_a_corridor_are_refused():
    with pytest.raises(ValueError, match="TMazeLong give no gradient to logits"):
        QUIET.step(QUIET.reset(2, seeded())[0], torch.randn(2, 2), seeded())
    with pytest.raises(ValueError, match="length=1, want at least 2"):
        TMazeLong(1)


def test_of_a_range_each_episode_has_its_own_length():
    task = TMazeLong((2, 5), True, dtype=torch.float64)
    seen, steps, state = shown(task, batch=200)
    assert set(state.length.tolist()) == {2, 3, 4, 5} and task.steps == 5 and not task.fixed_length
    for row, length in enumerate(state.length.tolist()):
        assert [bool(step.terminated[row]) for step in steps[1 : length + 1]] == [False] * (length - 1) + [True]
        assert seen[:length, row, 2].tolist() == [0.0] * (length - 1) + [1.0]
        assert len(task.step_labels(state, row)) == length
    with pytest.raises(ValueError, match=r"length=\(1, 5\), want at least 2"):
        TMazeLong((1, 5))


def test_episodes_of_one_length_are_those_of_before_there_were_ranges():
    rng = seeded()
    state, _ = NOISY.reset(3, rng)
    drawn = seeded()
    assert torch.equal(state.cue, torch.randint(2, (3,), generator=drawn) * 2 - 1)
    assert torch.equal(state.noise, torch.randint(2, (3, 5, 1), generator=drawn).double() * 2 - 1)
    assert torch.equal(rng.get_state(), drawn.get_state())
