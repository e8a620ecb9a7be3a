"""Helpers of the tests of distributed runs: functions that several processes run, and their results."""

import os
import signal
import socket
import time
from contextlib import suppress

import torch

from badger import A2C, BPTT, RepeatPrevious, Run, act, distributed, train
from badger.learners import Evolution
from tiny_runs import At, load_trusted, made, start, tiny
from toys import Steps, Walk, game, toy_agent

TASKS = {
    "guessing_game": game(steps=4),
    "repeat_previous": RepeatPrevious(5, 2, dtype=torch.float64),
    "walk": Walk(dtype=torch.float64),  # ranks differ in how many steps have a score
}


def learner(task, batch, rank=None, **options):
    return BPTT(toy_agent(TASKS[task], core="episodic", port="readout"), TASKS[task], batch=batch, rank=rank, **options)


def together(work, folder, processes=2, seconds=120):
    """Runs work(folder) in several processes, which are killed after so many seconds; returns the result of each."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [start(_as_rank, number, processes, port, work, folder) for number in range(processes)]
    for child in children:
        child.join(seconds)
        if child.is_alive():
            child.kill()
    assert [child.exitcode for child in children] == [0] * processes
    return [torch.load(folder / f"result_{number}.pt", weights_only=True) for number in range(processes)]


def _as_rank(number, processes, port, work, folder):
    torch.set_num_threads(1)
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"RANK": str(number), "WORLD_SIZE": str(processes), "LOCAL_RANK": str(number)}
    with distributed.process_group():
        result = work(folder)
    torch.save(result, folder / f"result_{number}.pt")


def updates(folder):
    """Three updates of each task: the metrics and gradients of the first, and the parameters after the last."""
    by_task = {}
    for task in TASKS:
        made = learner(task, 6, clip=1e9)
        metrics = {name: torch.as_tensor(value) for name, value in made.update().items()}
        by_task[task] = {"metrics": metrics, "gradients": gradients(made)}
        made.update()
        made.update()
        by_task[task]["parameters"] = parameters(made)
    return by_task


def gradients(made):
    return {name: p.grad.clone() for name, p in made.agent.named_parameters() if p.grad is not None}


def parameters(made):
    return {name: p.detach().clone() for name, p in made.agent.named_parameters()}


def chooser(batch, rank=None):
    """A2C on episodes of any length, so that ranks differ in their number of valid steps."""
    agent = toy_agent(Steps(dtype=torch.float64), core="episodic")
    agent.act = act.WithCritic(agent.act).double()
    return A2C(agent, Steps(dtype=torch.float64), batch=batch, rank=rank, clip=None)


def choices(folder):
    """One update of A2C."""
    made = chooser(24)
    metrics = {name: torch.as_tensor(value) for name, value in made.update().items()}
    return {"metrics": metrics, "gradients": gradients(made), "parameters": parameters(made)}


def evolved(folder):
    """Two updates by evolution strategies: of whole episodes, and of parts of them with low-rank noise."""
    by_kind = {}
    for kind, options in {"whole": {}, "parts": {"unroll": 3, "noise_rank": 1}}.items():
        agent = toy_agent(TASKS["guessing_game"], core="episodic")
        made = Evolution(agent, TASKS["guessing_game"], batch=3, population=8, **options)
        by_kind[kind] = {"returns": [made.update()["return"] for _ in range(2)], "parameters": parameters(made)}
    return by_kind


class HalfBroken(BPTT):
    """BPTT whose loss is NaN on rank 1, with a finite gradient."""

    def _loss(self, *args):
        return super()._loss(*args) + (torch.nan if distributed.rank() == 1 else 0)


def broken(folder):
    """One update that is not finite on one rank."""
    made = learner("guessing_game", 6)
    made.__class__ = HalfBroken
    before = parameters(made)
    metrics = made.update()
    return {"finite": metrics["finite"], "before": before, "after": parameters(made)}


def train_separately(folder):
    """A run in which each rank has its own folder."""
    train(made(folder / str(distributed.rank()), outer_steps=12), tensorboard=False)
    return {}


def signalled(folder):
    """A run in which rank 1 gets SIGTERM twice before step 7."""
    run = made(folder / str(distributed.rank()))
    if distributed.rank() == 1:
        At.change(run, 7, lambda: [os.kill(os.getpid(), signal.SIGTERM) for _ in range(2)])
    try:
        train(run, tensorboard=False)
    except KeyboardInterrupt as stop:
        return {"step": run.step, "said": str(stop)}
    return {"step": run.step, "said": ""}


def strangers(folder):
    """Ranks whose agents were built from different seeds."""
    try:
        train(tiny(seed=distributed.rank()))
    except RuntimeError as error:
        return str(error)
    return ""


def joined(folder):
    """A run of one process that two processes resume."""
    run = load_trusted(folder / "run")
    before = parameters(run.learner)
    train(run, 1, tensorboard=False)
    return before


def mortal() -> Run:
    """The tiny run, of which rank 1 is killed before step 13."""
    run = tiny()
    if distributed.rank() == 1:
        At.change(run, 13, lambda: os.kill(os.getpid(), signal.SIGKILL))
    return run


def orphaned() -> Run:
    """The tiny run, whose launcher is killed before step 7 by rank 0."""

    def kill_launcher():
        launcher = os.getppid()
        os.kill(launcher, signal.SIGKILL)
        while os.getppid() == launcher:
            time.sleep(0.01)

    return At.change(tiny(), 7, kill_launcher) if distributed.rank() == 0 else tiny()


def launch(folder, pipe, variables):
    """Forks a process that trains the run above, and waits for it; the pipe is open until both have ended."""
    torch.set_num_threads(1)
    os.environ |= variables
    if os.fork():
        os.wait()
        return
    with distributed.process_group(), pipe:
        run = orphaned()
        run.folder = folder
        with suppress(KeyboardInterrupt):
            train(run, tensorboard=False)
