"""The memory card game against a plain simulation; its references against simulated games and a search."""

import itertools
from fractions import Fraction

import pytest
import torch
from torch.testing import assert_close

from badger import CardGame, CardGameImitation
from badger.testing.task.cases import play
from tasks.games.card_game import optimal_value
from toys import seeded


class PlainGame:
    """One game, by the rules."""

    def __init__(self, faces):
        self.faces, self.taken, self.up, self.t, self.total = faces, set(), [], 0, 0

    def step(self, card):
        """What lies face up, what is paid, whether all are taken."""
        self.t += 1
        if len(self.up) == 2:
            self.up = []
        reward = -1
        if card not in self.taken and card not in self.up:
            self.up.append(card)
            if len(self.up) == 2 and self.faces[self.up[0]] == self.faces[card]:
                reward = 2
                self.taken |= set(self.up)
        self.total += reward
        return reward, len(self.taken) == len(self.faces)

    def seen(self):
        n = len(self.faces)
        obs = []
        for slot in range(2):
            place, face = [0.0] * n, [0.0] * (n // 2)
            if slot < len(self.up):
                place[self.up[slot]] = face[self.faces[self.up[slot]]] = 1.0
            obs += place + face
        return obs + [float(card in self.taken) for card in range(n)]

    def mask(self):
        waiting = self.up if len(self.up) == 1 else []
        return [card not in self.taken and card not in waiting for card in range(len(self.faces))]


@pytest.mark.parametrize("cards", [2, 4, 8])
def test_every_step_is_as_in_the_plain_game(cards):
    """Also with cards that cannot be turned."""
    task, rng = CardGame(cards, dtype=torch.float64), seeded()
    state, reset_step = task.reset(30, rng)
    plain = [PlainGame(faces) for faces in state.faces.tolist()]
    assert reset_step.obs.tolist() == [one.seen() for one in plain] and reset_step.action_mask.all()
    running = torch.ones(30, dtype=torch.bool)
    for _ in range(task.steps):
        action = torch.randint(cards, (30,), generator=rng)
        state, step = task.step(state, action, rng)
        for row in running.nonzero().flatten().tolist():
            reward, done = plain[row].step(action[row].item())
            cut = plain[row].t == 2 * cards and not done
            assert step.obs[row].tolist() == plain[row].seen()
            assert [step.reward[row], step.terminated[row], step.truncated[row]] == [reward, done, cut]
            assert step.action_mask[row].tolist() == ([True] * cards if done or cut else plain[row].mask())
            if done or cut:
                assert step.scores["episodic_return"][row] == plain[row].total
                assert step.scores["pairs_found"][row] == len(plain[row].taken) / cards
            else:
                assert step.scores["episodic_return"][row].isnan() and step.scores["pairs_found"][row].isnan()
            running[row] = not (done or cut)
    assert not running.any()


def test_the_cards_are_pairs_and_well_shuffled():
    faces = CardGame(6).reset(6000, seeded())[0].faces
    assert (faces.sort(-1).values == torch.tensor([0, 0, 1, 1, 2, 2])).all()
    alike = (faces.unsqueeze(-1) == faces.unsqueeze(-2)).double().mean(0)  # each card has its mate anywhere
    assert_close(alike, torch.eye(6, dtype=torch.float64) * 0.8 + 0.2, atol=0.03, rtol=0)


def games(task, choose, batch=4000, seed=0):
    """reward and pairs of each game, of who chooses by state and legal moves."""
    rng = seeded(seed)
    state, step = task.reset(batch, rng)
    results = {name: torch.full_like(score, torch.nan) for name, score in step.scores.items()}
    for _ in range(task.steps):
        state, step = task.step(state, choose(state, step.action_mask, rng), rng)
        results = {name: torch.where(score.isnan(), step.scores[name], score) for name, score in results.items()}
    return results


@pytest.mark.parametrize("cards", [2, 4, 8, 16])
def test_the_optimal_player_reaches_the_reference_return(cards):
    task = CardGame(cards, dtype=torch.float64)
    results = games(task, lambda state, mask, rng: task.optimal_action(state))
    assert (results["pairs_found"] == 1).all()
    error = results["episodic_return"].std() / 4000**0.5
    assert abs(results["episodic_return"].mean() - task.references()["episodic_return"]["optimum"]) <= 4 * error


@pytest.mark.parametrize("cards", [2, 4, 8])
def test_chance_matches_random_allowed_actions(cards):
    task = CardGame(cards, dtype=torch.float64)
    results = games(task, lambda state, mask, rng: mask.double().multinomial(1, generator=rng).squeeze(-1))
    for name, score in results.items():
        error = score.std() / 4000**0.5
        assert abs(score.mean() - task.references()[name]["chance"]) <= 4 * error + 1e-12


def test_the_best_of_two_pairs_is_worked_out_by_hand():
    """In one game of three the first two are alike, which leaves 2; else all are known after 3 cards, and 6 are turned:
    3 x 2 less 6."""
    assert optimal_value(0, 2) == 1 and optimal_value(0, 4) == Fraction(2, 3)


def searched(one, two, none):
    """The most that can be gained at the start of a turn. There are faces of which one card was seen, of which two, and
    of which none; pairs need not be taken when they are known."""
    if one + two + none == 0:
        return Fraction(0)
    unseen, options = one + 2 * none, []
    if two:
        options.append(1 + searched(one, two - 1, none))
    if unseen:
        drawn = [(one, (one - 1, two + 1, none), True), (2 * none, (one + 1, two, none - 1), False)]
        options.append(sum(Fraction(n, unseen) * second(*now, mate, new=True) for n, now, mate in drawn if n))
    if one:
        options.append(second(one, two, none, mate=False, new=False))
    return max(options)


def second(one, two, none, mate, new):
    """The same in the middle of a turn, a card face up, whose mate was seen or not. new: it was turned for the first
    time, so that a turn is not in vain even if the second is not."""
    unseen, options = one + 2 * none, []
    if mate:
        options.append(1 + searched(one, two - 1, none))
    elif unseen:
        value = Fraction(1, unseen) * (1 + searched(one - 1, two, none))
        if one > 1:
            value += Fraction(one - 1, unseen) * (-2 + searched(one - 1, two + 1, none))
        if none:
            value += Fraction(2 * none, unseen) * (-2 + searched(one + 1, two, none - 1))
        options.append(value)
    if new and one + two > 1:
        options.append(-2 + searched(one, two, none))
    return max(options)


@pytest.mark.parametrize("cards", [2, 4, 6])
def test_the_best_is_found_by_a_search_too(cards):
    assert searched(0, 0, cards // 2) == optimal_value(0, cards)


def test_the_optimal_player_completes_known_pairs_or_turns_an_unseen_card():
    task = CardGame(6)
    state, _ = task.reset(1, seeded())
    state = state._replace(faces=torch.tensor([[0, 1, 1, 2, 0, 2]]))
    moves = []
    for _ in range(9):
        card = task.optimal_action(state)
        state, step = task.step(state, card, seeded())
        moves.append(card.item())
    # 0 and 1 differ; 2 is the mate of 1, 3 is new; so is 4, the mate of 0; at last 5, whose mate is 3
    assert moves == [0, 1, 2, 1, 3, 4, 0, 4, 5] and not step.terminated.item()
    assert task.optimal_action(state).item() == 3


def test_the_words_are_the_cards_that_the_expert_turns():
    task = CardGame(4)
    state, _ = task.reset(1, seeded())
    assert task.step_labels(state._replace(faces=torch.tensor([[0, 1, 0, 1]]))) == ["0A", "1B", "2A", "0A", "3B", "1B"]


@pytest.mark.parametrize("cards", [0, 5])
def test_cards_that_are_no_pairs_are_refused(cards):
    for make in (CardGame, CardGameImitation):
        with pytest.raises(ValueError, match=f"cards={cards}, want an even number"):
            make(cards)


def test_logits_are_refused_by_the_game():
    with pytest.raises(ValueError, match="CardGame give no gradient to logits"):
        play(CardGame(4), [torch.randn(2, 4)])


# --- lessons


def test_demonstrations_reward_and_execute_the_experts_action():
    task, game = CardGameImitation(4, dtype=torch.float64), CardGame(4, dtype=torch.float64)
    logits = torch.randn(8, 20, 4, generator=seeded(3), dtype=torch.float64)
    rng = seeded()
    state, step = task.reset(20, rng)
    running = torch.ones(20, dtype=torch.bool)
    for given in logits:
        expected = game.optimal_action(state)
        after, played = game.step(state, expected, rng)
        state, step = task.step(state, given, rng)
        chance = given.log_softmax(-1)[range(20), expected] / 8
        assert_close(step.reward, torch.where(running, chance, 0))
        right = (given.argmax(-1) == expected).double()
        assert_close(step.scores["accuracy"], torch.where(running, right, torch.nan), equal_nan=True)
        assert torch.equal(step.obs, played.obs) and torch.equal(state.taken, after.taken)
        running &= ~(step.terminated | step.truncated)
    assert not running.any()


def test_dagger_executes_the_agents_actions_and_labels_them_by_the_expert():
    task, game = CardGameImitation(4, True, dtype=torch.float64), CardGame(4, dtype=torch.float64)
    (state, _), rng = task.reset(50, seeded()), seeded(1)
    for _ in range(4):
        action = torch.randint(4, (50,), generator=rng)
        after, played = game.step(state, action, rng)
        expected = game.optimal_action(state)
        state, step = task.step(state, action, rng)
        assert torch.equal(step.obs, played.obs) and torch.equal(state.seen, after.seen)
        assert torch.equal(step.scores["accuracy"] == 1, action == expected)


def test_dagger_samples_actions_by_their_probabilities():
    task = CardGameImitation(4, True, dtype=torch.float64)
    chance = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    state, _ = task.reset(8000, seeded())
    state, _ = task.step(state, chance.log().expand(8000, -1), seeded(1))
    assert_close(state.seen.double().mean(0), chance, atol=0.02, rtol=0)


def test_perfect_imitation_reaches_the_optimal_return():
    task = CardGameImitation(8, True, dtype=torch.float64)
    results = games(task, lambda state, mask, rng: task.game.optimal_action(state))
    assert results["episodic_return"].mean() == pytest.approx(task.references()["episodic_return"]["optimum"], abs=0.2)


def test_all_pairs_of_first_moves_are_tried_in_the_smallest_game():
    """Two cards, all games of 4 steps: the best is to take them, +1; to turn the same one again costs 1 each time."""
    task = CardGame(2, dtype=torch.float64)
    walks = torch.tensor(list(itertools.product(range(2), repeat=4))).T
    steps = [step for _, step in play(task, list(walks))]
    first = torch.stack([step.scores["episodic_return"] for step in steps]).nan_to_num(-99).max(0).values
    changes = (walks == walks[:1]).long().cumprod(0).sum(0)  # how often the first card is turned
    assert_close(first, torch.where(changes < 4, 2 - changes, -4).double())
