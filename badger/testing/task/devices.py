"""A task on the meta device and under FakeTensorMode. Shapes as in `badger.testing.task.cases`."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from badger.rng import seeded_generator
from badger.testing.contract import by_name
from badger.testing.devices import META, all_on_meta, without_values
from badger.testing.task.cases import B, actors
from tasks import Continuous, Mixed, MultiDiscrete, Step, Task


def meta_actions(task: Task) -> Iterator[Tensor]:
    """Actions of each kind that the task takes: numbers or logits, and integers of a choice."""
    space = task.action_space
    wanted = task.differentiable
    if isinstance(space, Mixed):
        size = len(space.choices.nvec) + space.numbers.size
        yield torch.zeros(B, *actors(task), size, dtype=task.dtype, device=META, requires_grad=wanted)
        return
    if wanted or isinstance(space, Continuous):
        yield torch.zeros(B, *actors(task), space.size, dtype=task.dtype, device=META, requires_grad=wanted)
    if not isinstance(space, Continuous):
        choices = (len(space.nvec),) if isinstance(space, MultiDiscrete) else ()
        yield torch.zeros(B, *actors(task), *choices, dtype=torch.int64, device=META)


def tensors(step: Step) -> list[Tensor | None]:
    """The tensors of a step."""
    return [*step._replace(scores={})[:4], step.present, step.action_mask, *step.scores.values()]


@without_values(lambda task: nn.Identity())
def episodes_run_on_the_meta_device(task: Task, _: nn.Module) -> None:
    if task.external:
        return
    for action in meta_actions(task):
        rng, mask = seeded_generator(0, META), torch.ones(B, dtype=torch.bool, device=META)
        opened, first = task.reset(B, rng)
        state, steps = opened, [first]
        for _step in range(task.steps):
            state, step = task.step(state, action, rng)
            steps.append(step)
        if action.requires_grad:
            torch.stack([step.reward.sum() for step in steps]).sum().backward()
        _, begun = task.restart(state, mask, rng)
        all_on_meta([part for step in (*steps, begun) for part in tensors(step)], "observations, rewards and ends")
        all_on_meta([task.target(opened), action.grad], "targets and gradients")


@without_values(lambda task: nn.Identity())
def chosen_and_previewed_episodes_run_on_the_meta_device(task: Task, _: nn.Module) -> None:
    """Of a finite task, whose episodes have numbers; and of one whose observations do not depend on actions."""
    rng = seeded_generator(0, META)
    if task.num_episodes is not None and not task.external:
        index = torch.zeros(B, dtype=torch.int64, device=META)
        all_on_meta(tensors(task.reset_to(index, rng)[1]), "first steps")
    if task.open_loop:
        all_on_meta(task.preview(*task.reset(B, rng), task.steps, rng.clone_state()), "observations in advance")


DEVICES = by_name(episodes_run_on_the_meta_device, chosen_and_previewed_episodes_run_on_the_meta_device)
