"""The guessing game, repeat previous and pooled recall."""

import pytest
import torch
from torch.testing import assert_close

from badger import BPTT, GuessingGame, PooledRecall, RepeatPrevious, sense
from badger.testing.task.cases import play
from tasks import Continuous, Discrete, MultiDiscrete, PreviousActionReward
from toys import game, seeded, toy_agent


@pytest.mark.parametrize(
    ("action", "size"), [(Discrete(5), 5), (MultiDiscrete((2, 3)), 5), (Continuous(4, low=-1.0, high=1.0), 4)]
)
def test_the_size_of_an_action_space_is_its_number_of_outputs(action, size):
    assert action.size == size


# --- the guessing game


def guessed(task, guess, batch=3):
    """The world and what it tells when every answer is the same."""
    return play(task, [torch.tensor(guess, dtype=task.dtype).expand(batch, -1)] * task.steps)


def test_the_error_is_three_times_the_mean_square():
    task = game(dims=2)
    state, _ = task.reset(1, seeded())
    state = state._replace(target=torch.tensor([[0.5, -1.0]], dtype=torch.float64))
    _, step = task.step(state, torch.tensor([[0.0, 1.0]], dtype=torch.float64), seeded())
    assert step.obs.item() == 3 * (0.25 + 4) / 2
    assert step.scores["error"].item() == step.obs.item()


def test_mirrored_games_hide_opposite_vectors_also_behind_a_wrapper():
    for task in (game(dims=2), PreviousActionReward(game(dims=2))):
        state = task.mirrored.reset(5, seeded())[0]
        target = getattr(state, "inner", state).target
        torch.testing.assert_close(target[3:], -target[:2])


def test_targets_are_uniform_between_minus_one_and_one():
    target = GuessingGame(dims=3).reset(20_000, seeded())[0].target
    assert target.abs().max() <= 1
    for moment, value in ((1, 0.0), (2, 1 / 3), (4, 1 / 5)):
        assert_close(target.pow(moment).mean(0), torch.full((3,), value), atol=0.02, rtol=0)


def test_the_first_observation_is_the_error_of_guessing_zero():
    state, reset_step = game(dims=2).reset(3, seeded())
    assert_close(reset_step.obs, 1.5 * state.target.square().sum(-1, keepdim=True))


def test_the_reward_is_minus_the_last_error_and_nothing_before():
    results = guessed(game(steps=4), [0.3, -0.2])
    rewards = torch.stack([step.reward for _, step in results])
    assert not rewards[:-1].any()
    assert_close(rewards[-1], -results[-1][1].obs.squeeze(-1))


def test_the_error_is_scored_at_every_guess_and_the_final_error_at_the_last():
    results = guessed(game(steps=3), [0.3, -0.2])
    due = {name: [bool(step.scores[name].isfinite().all()) for _, step in results] for name in results[0][1].scores}
    assert due == {"error": [False, True, True, True], "final_error": [False, False, False, True]}
    assert_close(results[-1][1].scores["final_error"], results[-1][1].obs.squeeze(-1))


def test_the_target_of_the_guessing_game_is_the_hidden_vector():
    task = game()
    state, _ = task.reset(3, seeded())
    assert torch.equal(task.target(state), state.target)


@pytest.mark.parametrize("dims", [1, 4, 10])
def test_the_reference_lines_are_those_of_the_theory(dims):
    lines = GuessingGame(steps=12, dims=dims).references()["final_error"]
    assert lines["answer 0"] == pytest.approx(1, abs=0.02)
    assert lines["all outputs equal"] == pytest.approx(1 - 1 / dims, abs=0.02)


@pytest.mark.parametrize(("dims", "steps"), [(1, 2), (4, 20), (4, 5), (19, 20)])
def test_the_prober_finds_the_target_when_it_has_a_guess_for_each_dimension(dims, steps):
    task = GuessingGame(steps, dims, dtype=torch.float64)
    assert task.references()["final_error"]["finite differences"] < 1e-24


@pytest.mark.parametrize(("dims", "steps", "left"), [(20, 20, 1 / 20), (4, 3, 2 / 4), (3, 1, 1)])
def test_the_prober_leaves_dimensions_that_it_has_no_time_for(dims, steps, left):
    """A dimension left at 0 costs 3/D E[t^2] = 1/D."""
    found = GuessingGame(steps, dims).references()["final_error"]["finite differences"]
    assert found == pytest.approx(left, rel=0.03)


def test_the_prober_sees_only_the_errors_told():
    task = game(steps=6, dims=3)
    (state, reset_step), rng = task.reset(4, seeded()), seeded()
    blind = state._replace(target=torch.full_like(state.target, torch.nan))
    results = [reset_step.obs.squeeze(-1)]
    for _ in range(task.steps):
        guess = task.finite_difference_player(results, blind)
        assert guess.isfinite().all()
        state, step = task.step(state, guess, rng)
        results.append(step.obs.squeeze(-1))
    assert (results[-1] < 1e-24).all()


@pytest.mark.parametrize("size", ["steps", "dims"])
def test_the_guessing_game_refuses_sizes_below_one(size):
    with pytest.raises(ValueError, match=f"{size}=0, want at least 1"):
        GuessingGame(**{size: 0})


# --- repeat previous


def told_symbols(task, batch=1, seed=0):
    return task.reset(batch, seeded(seed))[0].symbols


def test_the_symbol_shown_is_a_one_hot_vector_of_this_step():
    task = RepeatPrevious(steps=5, k=2, symbols=3, dtype=torch.float64)
    results = play(task, [torch.zeros(2, dtype=torch.long)] * 5)
    shown = torch.stack([step.obs for _, step in results[:-1]], 1)  # (B, T, symbols)
    assert torch.equal(shown.argmax(-1), results[0][0].symbols)
    assert torch.equal(shown.sum(-1), torch.ones(2, 5, dtype=torch.float64))


def test_symbols_are_equally_likely():
    symbols = told_symbols(RepeatPrevious(symbols=4), batch=5000)
    assert_close(symbols.flatten().bincount() / symbols.numel(), torch.full((4,), 0.25), atol=0.01, rtol=0)


def test_answers_start_at_step_k():
    results = play(RepeatPrevious(steps=6, k=4), [torch.zeros(2, dtype=torch.long)] * 6)
    assert [bool(step.scores["accuracy"].isfinite().all()) for _, step in results[1:]] == [False] * 4 + [True] * 2


@pytest.mark.parametrize("k", [1, 3])
def test_the_right_answer_is_the_symbol_of_k_steps_before(k):
    task = RepeatPrevious(steps=6, k=k, dtype=torch.float64)
    symbols = told_symbols(task, 3)
    answers = [symbols[:, max(0, t - k)] for t in range(6)]
    results = play(task, answers)
    assert all((step.scores["accuracy"] == 1).all() for _, step in results[1 + k :])
    assert_close(sum(step.reward for _, step in results), torch.ones(3, dtype=torch.float64))


def test_a_wrong_integer_earns_nothing():
    task = RepeatPrevious(steps=5, k=2, symbols=4)
    symbols = told_symbols(task, 3)
    results = play(task, [(symbols[:, max(0, t - 2)] + 1) % 4 for t in range(5)])
    assert not any(step.reward.any() for _, step in results)
    assert all((step.scores["accuracy"] == 0).all() for _, step in results[3:])


def test_the_reward_of_logits_is_the_log_probability_per_answer():
    task = RepeatPrevious(steps=5, k=2, symbols=3, dtype=torch.float64)
    logits = torch.log(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)) + 7  # a shift means nothing
    symbols = told_symbols(task, 4)
    results = play(task, [logits.expand(4, -1)] * 5)
    probability = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    for t, (_, step) in enumerate(results[1:]):
        expected = probability[symbols[:, t - 2]].log() / 3 if t >= 2 else torch.zeros(4, dtype=torch.float64)
        assert_close(step.reward, expected)
        if t >= 2:
            assert torch.equal(step.scores["accuracy"], (symbols[:, t - 2] == 0).double())


def test_the_references_of_repeat_previous_are_chance_and_perfection():
    assert RepeatPrevious(symbols=5).references() == {"accuracy": {"chance": 0.2, "perfect recall": 1.0}}


@pytest.mark.parametrize("size", ["steps", "k", "symbols"])
def test_repeat_previous_refuses_sizes_below_one(size):
    with pytest.raises(ValueError, match=f"{size}=0, want at least 1"):
        RepeatPrevious(**{size: 0})


@pytest.mark.parametrize("k", [8, 9])
def test_k_must_be_below_steps(k):
    with pytest.raises(ValueError, match=f"k={k} leaves no answer in steps=8; want k < steps"):
        RepeatPrevious(steps=8, k=k)


# --- pooled recall


def pooled(**options):
    return PooledRecall(**{"steps": 7, "experts": 3, "values": 4, "num_queries": 5, "dtype": torch.float64} | options)


def shown(task, batch=4, seed=0):
    """Observations of an episode, [keys (B, T, E, keys), values (B, T, E, values)]."""
    results = play(task, [torch.zeros(batch, dtype=torch.long)] * task.steps, seed)
    return torch.stack([step.obs for _, step in results[:-1]], 1).split([task.keys, task.values], -1)


def answers(task, player, batch=2000):
    """Accuracy of a player: (keys and values seen until now by each expert, key asked for, expert asked) -> answer."""
    keys, values = shown(task, batch)
    seen_keys, seen_values = (part[:, : task.num_shown].argmax(-1) for part in (keys, values))  # (B, shown, E)
    actions = [torch.zeros(batch, dtype=torch.long)] * task.num_shown
    for t in range(task.num_shown, task.steps):
        whom, key = keys[:, t].amax(-1).argmax(-1), keys[:, t].amax(1).argmax(-1)
        known = seen_keys == key.view(-1, 1, 1)
        actions.append(player(known, seen_values, whom))
    results = play(task, actions)
    return torch.stack([step.scores["accuracy"] for _, step in results[task.num_shown + 1 :]]).mean()


def everything(known, values, whom):
    return (values * known).sum((1, 2))


def own(known, values, whom):
    mine = torch.arange(known.shape[-1]) == whom.unsqueeze(-1)
    return everything(known & mine.unsqueeze(1), values, whom)  # 0 where it does not know


def test_every_key_is_shown_once_to_one_expert():
    task = pooled()
    keys, values = shown(task)
    assert task.keys == 6 and torch.equal(keys[:, :2].sum((1, 2)), torch.ones(4, 6, dtype=torch.float64))
    assert (keys[:, :2].sum(-1) == 1).all() and (values[:, :2].sum(-1) == 1).all()


def test_queries_show_a_key_to_one_expert_and_no_value():
    keys, values = shown(pooled(), batch=500)
    assert not values[:, 2:].any() and (keys[:, 2:].sum((-1, -2)) == 1).all()
    for axis, n in ((-1, 3), (-2, 6)):  # every expert, and every key, as often
        assert_close(
            keys[:, 2:].sum(axis).mean((0, 1)), torch.full((n,), 1 / n, dtype=torch.float64), atol=0.03, rtol=0
        )


def test_values_are_uniformly_distributed():
    _, values = shown(pooled(), batch=2000)
    assert_close(values[:, :2].mean((0, 1, 2)), torch.full((4,), 0.25, dtype=torch.float64), atol=0.02, rtol=0)


def test_the_right_answer_is_the_value_shown_with_the_key():
    assert answers(pooled(), everything) == 1


def test_private_memories_reach_the_reference_accuracy():
    task = pooled()
    lines = task.references()["accuracy"]
    assert lines == {"chance": 1 / 4, "no sharing": pytest.approx(1 / 3 + 2 / 3 / 4), "perfect recall": 1.0}
    assert answers(task, own).item() == pytest.approx(lines["no sharing"], abs=0.02)
    assert answers(task, lambda *_: torch.ones(2000, dtype=torch.long)).item() == pytest.approx(0.25, abs=0.02)


def test_answers_are_scored_in_query_steps():
    results = play(pooled(), [torch.zeros(2, dtype=torch.long)] * 7)
    assert [bool(step.scores["accuracy"].isfinite().all()) for _, step in results[1:]] == [False] * 2 + [True] * 5


def test_the_reward_of_logits_is_the_log_probability_per_query():
    logits = torch.log(torch.tensor([0.4, 0.3, 0.2, 0.1], dtype=torch.float64)) + 7
    task = pooled()
    results = play(task, [logits.expand(4, -1)] * 7)
    wanted = results[0][0].targets
    rewards = torch.stack([step.reward for _, step in results[1:]], 1)
    assert not rewards[:, :2].any()
    assert_close(rewards[:, 2:], (logits - 7)[wanted] / 5)


def test_experts_with_their_own_pairs_learn_pooled_recall():
    agent = toy_agent(pooled(), core="episodic_shared", bus="silent", experts=3)
    agent.sense = sense.PerExpert(pooled().obs_size)
    metrics = BPTT(agent, pooled(), batch=8).update()
    assert metrics["finite"] and metrics["gradient_norm"] > 0 and 0 <= metrics["accuracy"] <= 1


@pytest.mark.parametrize("size", ["steps", "experts", "values", "num_queries"])
def test_pooled_recall_refuses_sizes_below_one(size):
    with pytest.raises(ValueError, match=f"{size}=0, want at least 1"):
        PooledRecall(**{size: 0})


def test_num_queries_must_be_below_steps():
    with pytest.raises(ValueError, match="num_queries=8 leave no step for pairs in steps=8, want fewer"):
        PooledRecall(steps=8, num_queries=8)


def test_a_task_is_frozen():
    with pytest.raises(AttributeError):
        GuessingGame().steps = 3
