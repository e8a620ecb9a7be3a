"""Load and unload against a plain cart and exact values."""

import itertools

import numpy as np
import pytest
import torch

from tasks import LoadUnload
from toys import seeded

PUBLISHED = {5: (2.074806, 0.3716), 8: (1.001985, 0.0467)}  # optimum, and without memory; without an end


def walk(places: int, place: int, loaded: bool, right: bool) -> tuple[int, bool, float]:
    place = min(place + 1, places - 1) if right else max(place - 1, 0)
    if place == places - 1:
        return place, True, 0.0
    return place, loaded and place > 0, float(loaded and place == 0)


def test_every_way_is_as_of_a_plain_cart():
    task, rng = LoadUnload(6, 3, dtype=torch.float64), seeded()
    every = torch.tensor(list(itertools.product(range(2), repeat=task.steps))).T  # (T, B)
    state, _ = task.reset(every.shape[1], rng)
    carts, totals = [(0, False)] * every.shape[1], np.zeros(every.shape[1])
    for t, action in enumerate(every):
        state, step = task.step(state, action, rng)
        moved = [walk(3, *cart, bool(a)) for cart, a in zip(carts, action.tolist(), strict=True)]
        carts, rewards = [(place, loaded) for place, loaded, _ in moved], [reward for *_, reward in moved]
        totals += 0.95**t * np.array(rewards)
        assert step.obs.argmax(-1).tolist() == [place for place, _ in carts] and step.reward.tolist() == rewards
        assert not step.terminated.any() and step.truncated.all() == (t == 5)
    np.testing.assert_allclose(step.scores["discounted_return"].numpy(), totals, rtol=1e-12)
    assert totals.max() == pytest.approx(task.references()["discounted_return"]["optimum"])


@pytest.mark.parametrize("places", PUBLISHED)
def test_the_optimum_is_that_of_value_iteration(places):
    values = np.zeros((places, 2))
    for _ in range(1000):
        backed = np.zeros((places, 2, 2))
        for place, loaded, right in itertools.product(range(places), range(2), range(2)):
            after, load, reward = walk(places, place, bool(loaded), bool(right))
            backed[place, loaded, right] = reward + 0.95 * values[after, int(load)]
        values = backed.max(-1)
    references = LoadUnload(1000, places).references()["discounted_return"]
    assert references["optimum"] == pytest.approx(values[0, 0], rel=1e-12) == pytest.approx(PUBLISHED[places][0])


@pytest.mark.parametrize("places", PUBLISHED)
def test_without_memory_a_coin_between_the_ends_is_best(places):
    task = LoadUnload(1000, places)
    references = task.references()["discounted_return"]
    assert references["memoryless"] == pytest.approx(PUBLISHED[places][1], abs=5e-5)
    turning = np.array([1.0, *[0.5] * (places - 2), 0.0])
    for place, change in itertools.product(range(places), (-0.1, 0.1)):
        other = turning.copy()
        other[place] = np.clip(other[place] + change, 0, 1)
        assert task._policy_return(other) <= references["memoryless"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"places": 1}, "places=1, want at least 2: one to load, and one to unload"),
        ({"discount": 1.5}, "discount=1.5, want a number from 0 to 1"),
        ({"steps": 0}, "steps=0, want at least 1"),
    ],
)
def test_an_option_out_of_range_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        LoadUnload(**options)
