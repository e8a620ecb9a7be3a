"""Plays and trains in many environments of other libraries, and prints a Markdown table: `make envs`.

Each environment is loaded, played for some steps with random legal actions and with those of an agent, trained for
three updates, saved and resumed. What is not installed is skipped, with its name.

    python tests/conformance.py --only MiniGrid Taxi --steps 200
"""

import argparse
import importlib.metadata
import signal
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch

from badger import build_run, load_run, rollout, train
from badger.policies.policies import Sampled
from badger.rollouts.trajectory import initial_carry
from tasks import Continuous, Task

GYMNASIUM = {
    "gymnasium": [
        "CartPole-v1", "Acrobot-v1", "MountainCar-v0", "MountainCarContinuous-v0", "Pendulum-v1", "FrozenLake-v1",
        "FrozenLake8x8-v1", "CliffWalking-v1", "Taxi-v4", "Blackjack-v1",
    ],
    "Box2D": ["LunarLander-v3", "LunarLanderContinuous-v3", "BipedalWalker-v3", "CarRacing-v3"],
    "minigrid": [
        "minigrid:MiniGrid-Empty-5x5-v0", "minigrid:MiniGrid-DoorKey-5x5-v0", "minigrid:MiniGrid-MemoryS7-v0",
        "minigrid:MiniGrid-FourRooms-v0", "minigrid:MiniGrid-GoToDoor-5x5-v0", "minigrid:MiniGrid-Fetch-5x5-N2-v0",
        "minigrid:MiniGrid-Dynamic-Obstacles-5x5-v0", "minigrid:BabyAI-GoToRedBallGrey-v0",
    ],
    "minatar": [
        "conformance:minatar_breakout", "conformance:minatar_asterix", "conformance:minatar_freeway",
        "conformance:minatar_seaquest", "conformance:minatar_space_invaders",
    ],
    "popgym": [
        f"popgym:popgym-{name}-v0" for name in (
            "RepeatPreviousEasy", "RepeatFirstEasy", "AutoencodeEasy", "BattleshipEasy", "ConcentrationEasy",
            "CountRecallEasy", "HigherLowerEasy", "MineSweeperEasy", "MultiarmedBanditEasy",
            "PositionOnlyCartPoleEasy", "NoisyPositionOnlyPendulumEasy",
        )
    ],
    "bsuite": ["conformance:bsuite_catch", "conformance:bsuite_memory_len", "conformance:bsuite_umbrella"],
}  # fmt: skip
PETTINGZOO = {
    "rware": ["rware:rware-tiny-2ag-v2"],
    "lbforaging": ["lbforaging:Foraging-8x8-2p-1f-v3"],
    "pettingzoo": [
        "pettingzoo.classic.tictactoe_v3", "pettingzoo.classic.connect_four_v3", "pettingzoo.classic.rps_v2",
        "pettingzoo.classic.chess_v6", "pettingzoo.classic.go_v5", "pettingzoo.classic.leduc_holdem_v4",
        "pettingzoo.classic.texas_holdem_v4", "pettingzoo.classic.texas_holdem_no_limit_v6",
        "pettingzoo.butterfly.cooperative_pong_v6", "pettingzoo.butterfly.pistonball_v6",
        "pettingzoo.butterfly.knights_archers_zombies_v11", "pettingzoo.sisl.pursuit_v5",
        "pettingzoo.sisl.multiwalker_v9",
    ],
    "mpe2": [
        f"mpe2.{name}" for name in (
            "simple_v3", "simple_adversary_v3", "simple_crypto_v3", "simple_push_v3", "simple_reference_v3",
            "simple_speaker_listener_v4", "simple_spread_v3", "simple_tag_v3", "simple_world_comm_v3",
        )
    ],
}  # fmt: skip
ATARI = {"ale_py": ["ALE/Pong-v5", "ALE/Breakout-v5"]}
PACKAGES = {"Box2D": "box2d", "ale_py": "ale-py", "minatar": "MinAtar"}  # whose names differ from their modules
CHECKS = ("load", "random", "agent", "train", "resume")


class World(NamedTuple):
    """An environment, and the recipe that trains in it."""

    library: str
    recipe: str
    env: str


class Skipped(Exception):
    """Something is not installed."""


def worlds() -> Iterator[World]:
    """All environments of the table."""
    for recipe, libraries in {"gymnasium": GYMNASIUM, "pettingzoo": PETTINGZOO, "atari": ATARI}.items():
        for library, names in libraries.items():
            for env in names:
                yield World(library, recipe, env)


def check(world: World, steps: int, results: dict[str, str]) -> None:
    """Fills in the result of each check, until one fails."""
    options: dict[str, Any] = {"batch": 4, "core.hidden_size": 16, "outer_steps": 3, "device": "cpu"}
    options |= {"learner.horizon": 16, "learner.epochs": 1, "learner.minibatches": 2}
    try:
        run = build_run(world.recipe, env=world.env, **options)
    except (ValueError, ModuleNotFoundError) as error:
        if "pip install" in str(error) or isinstance(error.__cause__, ImportError):
            raise Skipped(str(error).splitlines()[0]) from error
        raise
    task, learner = run.learner.task, run.learner
    kinds = [part.kind + ("" if part.kind != "image" else f" {'x'.join(map(str, part.shape))}")
             for part in task.obs_parts]  # fmt: skip
    results |= {"observation": ", ".join(dict.fromkeys(kinds)) + f" ({task.obs_size})"}
    results |= {"action": str(task.action_space)[:60].replace("|", "/"), "load": "yes"}
    started = time.process_time()
    masked = play_randomly(task, steps)
    results |= {"random": f"{4 * steps / (time.process_time() - started):,.0f}", "mask": "yes" if masked else ""}
    rng = torch.Generator().manual_seed(0)
    carry = initial_carry(learner.agent, task, 4, rng)
    trajectory, _ = rollout(learner.agent, task, carry, rng, Sampled(task.action_space), steps=steps)
    assert trajectory.output.isfinite().all() and trajectory.reward.isfinite().all(), "agent: not finite"
    results["agent"] = "yes"
    with tempfile.TemporaryDirectory() as folder:
        run.folder, run.save_every = folder, 1
        train(run, 2, quiet=True, tensorboard=False)
        results["train"] = "yes"
        again = load_run(folder, trusted="*")
        train(again, quiet=True, tensorboard=False)
        assert again.step == 3, again.step
        results["resume"] = "yes"


def play_randomly(task: Task, steps: int) -> bool:
    """Plays random legal actions; returns whether the environment has masks."""
    rng = torch.Generator().manual_seed(0)
    state, step = task.reset(4, rng)
    policy, size = Sampled(task.action_space), task.action_space.size
    for _ in range(steps):
        over = step.terminated | step.truncated
        over = over if over.dim() == 1 else over.all(-1)
        rows = (4,) if task.agents is None else (4, task.agents)
        if isinstance(task.action_space, Continuous):
            action = torch.randn(*rows, size, generator=rng)
        else:
            action, _ = policy(torch.zeros(*rows, size), step.action_mask, (), rng)
        state, step = task.step(state, action, rng)
        if over.any():
            state, step = task.restart(state, over, rng)
    return step.action_mask is not None


@contextmanager
def limited(seconds: int) -> Iterator[None]:
    """Raises TimeoutError in what takes longer."""

    def stop(number: int, frame: object) -> None:
        raise TimeoutError(f"took more than {seconds} s")

    signal.signal(signal.SIGALRM, stop)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)


def version(library: str) -> str:
    """The installed version of a library."""
    try:
        return importlib.metadata.version(PACKAGES.get(library, library))
    except importlib.metadata.PackageNotFoundError:
        raise Skipped(f"{PACKAGES.get(library, library)} is not installed") from None


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", default=[], help="environments or libraries whose names contain one of these"
    )
    parser.add_argument("--steps", type=int, default=200, help="steps of each of 4 copies")
    parser.add_argument("--seconds", type=int, default=120, help="limit for an environment")
    arguments = parser.parse_args()
    sys.modules.setdefault("conformance", sys.modules["__main__"])
    warnings.simplefilter("ignore")
    columns = ("observation", "action", "mask", *CHECKS)
    print(f"| environment | version | {' | '.join(columns)} | note |")
    print("|---" * (len(columns) + 3) + "|")
    failed = 0
    for world in worlds():
        if arguments.only and not any(part in f"{world.library} {world.env}" for part in arguments.only):
            continue
        results: dict[str, str] = {}
        note, release = "", ""
        try:
            release = version(world.library)
            with limited(arguments.seconds):
                check(world, arguments.steps, results)
        except Skipped as reason:
            note = f"skipped: {reason}"
        except (Exception, SystemExit) as error:
            failed += 1
            note = f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"
        cells = " | ".join(results.get(name, "") for name in columns)
        print(f"| {world.env} | {release} | {cells} | {note[:200].replace('|', '/')} |", flush=True)
    return 1 if failed else 0


def _minatar(game: str) -> Any:
    """An environment of MinAtar, whose own registration is of an older Gymnasium."""
    from minatar.gym import BaseEnv

    return BaseEnv(game=game, use_minimal_action_set=True)


def minatar_breakout() -> Any:
    return _minatar("breakout")


def minatar_asterix() -> Any:
    return _minatar("asterix")


def minatar_freeway() -> Any:
    return _minatar("freeway")


def minatar_seaquest() -> Any:
    return _minatar("seaquest")


def minatar_space_invaders() -> Any:
    return _minatar("space_invaders")


def _bsuite(bsuite_id: str) -> Any:
    """An environment of bsuite, which is one of dm_env."""
    import bsuite
    import gymnasium
    import numpy as np

    class FromDMEnv(gymnasium.Env):
        def __init__(self) -> None:
            self.env = bsuite.load_from_id(bsuite_id)
            shape = self.env.observation_spec().shape
            self.observation_space = gymnasium.spaces.Box(-np.inf, np.inf, shape, np.float32)
            self.action_space = gymnasium.spaces.Discrete(self.env.action_spec().num_values)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            super().reset(seed=seed)
            return np.asarray(self.env.reset().observation, np.float32), {}

        def step(self, action: Any) -> Any:
            step = self.env.step(int(action))
            cut = step.last() and step.discount == 1
            obs = np.asarray(step.observation, np.float32)
            return obs, float(step.reward), step.last() and not cut, cut, {}

    return FromDMEnv()


def bsuite_catch() -> Any:
    return _bsuite("catch/0")


def bsuite_memory_len() -> Any:
    return _bsuite("memory_len/5")


def bsuite_umbrella() -> Any:
    return _bsuite("umbrella_length/5")


if __name__ == "__main__":
    sys.exit(main())
