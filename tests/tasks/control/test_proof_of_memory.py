"""The proof of memory against a plain simulation; its references against an enumeration of all walks."""

import itertools

import pytest
import torch
from torch.testing import assert_close

from badger import ProofOfMemory
from badger.testing.task.cases import play
from toys import seeded

TASK = ProofOfMemory(dtype=torch.float64)
LEFT, RIGHT = 0, 1


class PlainProof:
    """One episode, by the rules, in tenths."""

    def __init__(self, place, worths):
        self.place, self.worths, self.t, self.total, self.over = place, worths, 0, 0.0, False

    def step(self, action):
        """obs, reward, terminated, truncated."""
        self.t += 1
        if self.t <= 2:
            return self.seen(), 0.0, False, False
        self.place += 0.2 if action == RIGHT else -0.2
        at_end = abs(abs(self.place) - 1) < 1e-9
        reward = 1.6 * self.worths[self.place > 0] if at_end else -0.1
        self.total += reward
        return self.seen(), reward, at_end, self.t == 16 and not at_end

    def seen(self):
        worths = self.worths if self.t <= 2 else (0.0, 0.0)
        return [worths[0], self.place, worths[1]]


def test_every_walk_is_as_on_the_plain_line():
    rng = seeded()
    state, reset_step = TASK.reset(40, rng)
    plain = [PlainProof(obs[1], (obs[0], obs[2])) for obs in reset_step.obs.tolist()]
    running = torch.ones(40, dtype=torch.bool)
    for _ in range(16):
        action = torch.randint(2, (40,), generator=rng)
        state, step = TASK.step(state, action, rng)
        for row in running.nonzero().flatten().tolist():
            obs, reward, terminated, truncated = plain[row].step(action[row])
            assert_close(step.obs[row], torch.tensor(obs, dtype=torch.float64), rtol=0, atol=1e-9)
            results = [step.reward[row], step.terminated[row], step.truncated[row]]
            assert results == [pytest.approx(reward), terminated, truncated]
            due = terminated or truncated
            score, success = step.scores["episodic_return"][row], step.scores["success"][row]
            assert score.item() == (
                pytest.approx(plain[row].total) if due else pytest.approx(float("nan"), nan_ok=True)
            )
            assert success.item() == pytest.approx(float(reward > 0) if due else float("nan"), nan_ok=True)
            running[row] = not due
    assert not running.any()


def played(choose, batch=4000):
    """reward and success of an episode, of who chooses by what was seen first and what is seen now."""
    rng = seeded()
    state, step = TASK.reset(batch, rng)
    first, over = step.obs, torch.zeros(batch, dtype=torch.bool)
    scores = {name: torch.zeros(batch, dtype=torch.float64) for name in step.scores}
    for _ in range(TASK.steps):
        state, step = TASK.step(state, choose(first, step.obs, rng), rng)
        for name, score in scores.items():
            score += torch.where(over, 0, step.scores[name]).nan_to_num()
        over |= step.terminated | step.truncated
    return {name: score.mean().item() for name, score in scores.items()}


@pytest.mark.parametrize(
    ("line", "choose"),
    [
        ("optimum", lambda first, now, rng: (first[:, 2] > 0).long()),
        ("memoryless", lambda first, now, rng: torch.where(now[:, 2] == 0, now[:, 1] >= 0, now[:, 2] > 0).long()),
        ("chance", lambda first, now, rng: torch.randint(2, (len(now),), generator=rng)),
    ],
)
def test_the_references_are_what_such_players_reach(line, choose):
    for name, value in played(choose).items():
        assert value == pytest.approx(TASK.references()[name][line], abs=0.08 if name == "episodic_return" else 0.03)


def test_the_optimum_is_worked_out_by_hand():
    """Ways of 3 to 7 cells: 1.6 less 0.1 for all steps but the last, 0.4 in the mean."""
    lines = TASK.references()
    assert lines["episodic_return"]["optimum"] == pytest.approx(1.2) and lines["episodic_return"][
        "memoryless"
    ] == pytest.approx(0.28)


def test_no_memoryless_way_is_better_than_that_to_the_nearest_end():
    """All deterministic maps from a place to a direction; the first move is made while the ends are shown."""
    best = -9.0
    for way in itertools.product((-1, 1), repeat=9):  # of the places -4 to 4
        total = 0.0
        for start, good in itertools.product(range(-2, 3), (-1, 1)):
            place, moves = start + good, 1
            while abs(place) < 5 and moves < 14:
                place, moves = place + way[place + 4], moves + 1
            total += 1.6 * good * place / 5 - 0.1 * (moves - 1) if abs(place) == 5 else -0.1 * moves
        best = max(best, total / 10)
    assert best == pytest.approx(TASK.references()["episodic_return"]["memoryless"])


def test_the_words_are_of_the_shortest_way():
    state, step = TASK.reset(8, seeded())
    for row, (_, place, right) in enumerate(step.obs.tolist()):
        words = TASK.step_labels(state, row)
        arrow = ">" if right > 0 else "<"
        assert words[:3] == [f"good {arrow}"] * 3 and set(words[3:]) == {arrow}
        assert len(words) == 2 + round((1 - right * place) * 5)


def test_logits_and_too_few_steps_are_refused():
    with pytest.raises(ValueError, match="ProofOfMemory give no gradient to logits"):
        play(TASK, [torch.randn(2, 2)])
    with pytest.raises(ValueError, match=r"steps=8, shown=2, want shown >= 0 and steps >= shown \+ 7"):
        ProofOfMemory(8)
