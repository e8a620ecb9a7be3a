"""Estimate of the memory of a training, so that sizes that cannot fit are refused before they are allocated."""

import torch

from badger.host_memory import check_fits
from badger.learners import requirement
from badger.recipes.parts import Part
from badger.rollouts.footprint import parameter_bytes, state_bytes, trajectory_bytes
from comms import Bus
from experts import Core
from tasks import Task

COPIES = 4  # of the parameters: themselves, gradients, and two moments of the optimizer
SEQUENCE_BYTES = 24  # of an empty place of a replay buffer


def check_training_fits(
    core: Core,
    bus: Bus,
    task: Task,
    learner: Part,
    *,
    batch: int,
    experts: int,
    seeds: int,
    device: torch.device,
) -> None:
    """Refuses a training that cannot fit into the memory of its device. The estimate is a lower bound.

    Args:
        core: of the agent, on any device.
        bus: of the agent, on any device.
        task: of the largest sizes.
        learner: how the agent is trained.
        batch: episodes.
        experts: their number, at most.
        seeds: number of agents.
        device: of the training.

    Raises:
        ValueError: it does not fit.
    """
    check_fits(COPIES * seeds * parameter_bytes(core, bus), "the parameters and their optimizer", device)
    sizes = f"{batch} episodes with {experts} experts"
    check_fits(seeds * state_bytes(core, bus, batch=batch, experts=experts), f"the states of {sizes}", device)
    steps = learner.option("horizon") or task.steps
    check_fits(seeds * trajectory_bytes(task, batch=batch, steps=steps), f"{steps} steps of {sizes}", device)
    episode = trajectory_bytes(task, batch=1, steps=task.steps, obs=False)
    check_fits(episode, f"one episode of {task.steps} steps", device)
    replayed = learner.option("replay_batch") or 0
    single = requirement(learner.factory, "needs_memoryless")
    length = min(learner.option("n_steps" if single else "train_length") or task.steps, task.steps)
    needed = seeds * trajectory_bytes(task, batch=replayed, steps=length)
    check_fits(needed, f"a batch of {replayed} replayed sequences", device)
    capacity = learner.option("capacity") or 0
    check_fits(seeds * capacity * SEQUENCE_BYTES, f"a replay buffer of {capacity} sequences", device)
