"""Noisy views: what is shown and asked is that of the wrapped task."""

import pytest
import torch
from torch.testing import assert_close

from badger import AssociativeRecall, Copy
from tasks import NoisyViews, TMaze
from toys import seeded


def views(task=None, **options):
    return NoisyViews(Copy(length=3, dtype=torch.float64) if task is None else task, dtype=torch.float64, **options)


def shown(task, batch=5):
    """All observations (T, B, O) and targets (B, T) of new episodes."""
    state, _ = task.reset(batch, seeded())
    return task._observe(state.inputs).transpose(0, 1), state.targets


def test_without_noise_each_observation_is_shown_in_every_view_through_one_matrix():
    task = views(size=40, noise=0.0, views=3)
    seen, plain = shown(task)[0], shown(task.task)[0]
    assert seen.shape == (3 * len(plain), 5, 40)
    for view in range(3):
        matrix = torch.linalg.pinv(plain.flatten(0, 1)) @ seen[view::3].flatten(0, 1)  # tokens that never came: zeros
        assert_close(plain @ matrix, seen[view::3])
    assert torch.equal(seen[0::3], seen[1::3])


def test_the_noise_is_new_in_every_view_and_has_its_deviation():
    quiet, loud = (shown(views(size=50, noise=noise, views=2), batch=200)[0] for noise in (0.0, 2.0))
    noise = (loud - quiet).reshape(-1, 2, 200 * 50)
    assert noise.std().item() == pytest.approx(2, rel=0.02)
    assert torch.corrcoef(noise.transpose(0, 1).flatten(1))[0, 1].abs() < 0.02


def test_answers_are_given_at_the_last_view():
    task = views(views=3)
    assert torch.equal(shown(task)[1][:, 2::3], shown(task.task)[1])
    assert (shown(task)[1][:, 0::3] == -1).all() and (shown(task)[1][:, 1::3] == -1).all()


def test_right_answers_are_paid_as_in_the_wrapped_task():
    task = views(AssociativeRecall(3, 1, dtype=torch.float64), views=2)
    state, _ = task.reset(4, seeded())
    answers = [state.targets[:, t].clamp(min=0) for t in range(task.steps)]
    steps = []
    for action in answers:
        state, step = task.step(state, action, seeded())
        steps.append(step)
    assert_close(torch.stack([step.reward for step in steps]).sum(0), torch.ones(4, dtype=torch.float64))
    assert steps[-1].terminated.all() and steps[-1].scores["error"].eq(0).all()
    assert task.references() == task.task.references()


def test_another_projection_is_another_matrix_and_the_same_one_is_the_same():
    first, again, other = (shown(views(noise=0.0, projection=seed))[0] for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": TMaze()}, r"task=TMaze\(.*want a sequence task, as in NoisyViews\(Copy\(\)\)"),
        ({"size": 0}, "size=0, want at least 1"),
        ({"views": 0}, "views=0, want at least 1"),
        ({"noise": -1.0}, r"noise=-1.0, want a standard deviation of at least 0"),
    ],
)
def test_what_cannot_be_shown_is_refused(options, message):
    with pytest.raises(ValueError, match=message):
        views(**options)
