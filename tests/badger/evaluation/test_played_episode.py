"""One episode that plays: what is recorded, what is drawn, and the files."""

import shutil
import subprocess
from itertools import pairwise

import numpy as np
import pytest
import torch
from PIL import Image

from badger import Greedy, Gymnasium, Maze, PettingZoo, RepeatPrevious, build_run, figures, initial_carry, rollout
from badger.cli.main import main
from badger.evaluation.played_episode import play_episode
from badger.figures.episode_animation import animate, episode_strip, save_animation
from toy_worlds import Counter
from toy_zoo import Meadow, Turns
from toys import Steps, game, png, seeded, toy_agent


class Painted(Counter):
    """Its picture has the brightness of its step."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, render_mode=None):
        super().__init__(4)

    def render(self):
        return np.full((6, 8, 3), 10 * self.t, np.uint8)


class PaintedMeadow(Meadow):
    metadata = {"render_modes": ["rgb_array"], "name": "meadow"}  # noqa: RUF012

    def __init__(self, render_mode=None):
        super().__init__()

    def render(self):
        return np.zeros((2, 2, 3), np.uint8)


class PaintedTurns(Turns):
    """Agents act one after the other; its picture has the brightness of its round."""

    metadata = {"render_modes": ["rgb_array"], "name": "turns", "is_parallelizable": True}  # noqa: RUF012

    def __init__(self, render_mode=None):
        super().__init__(rounds=4)

    def render(self):
        return np.full((2, 2, 3), 10 * self.round, np.uint8)


class Blind(Counter):
    def __init__(self, render_mode=None):
        super().__init__(3)

    def render(self):
        raise RuntimeError("no screen")


def test_the_frames_are_those_of_a_rollout():
    task = game(steps=4)
    agent = toy_agent(task, core="episodic", port="round_robin")
    frames = play_episode(agent, task, seeded())
    carry = initial_carry(agent.eval(), task, 1, rng := seeded())
    with torch.no_grad():
        want, _ = rollout(agent, task, carry, rng, steps=4, hook=lambda s: (s.weights, agent.core.read_weights(s.core)))
    assert torch.equal(frames.actions, want.action[:, 0]) and torch.equal(frames.rewards, want.reward[:, 0])
    assert torch.equal(frames.weights, torch.cat([weights for weights, _ in want.hook_outputs]))
    assert torch.equal(frames.reads[-1], want.hook_outputs[-1][1][0])
    assert torch.equal(frames.target, task.target(carry.env_state)[0]) and frames.owners == [0, 1]
    assert frames.probabilities is None and len(frames.pictures) == 0


def test_an_episode_ends_where_its_first_one_does():
    task = Steps(steps=9, dtype=torch.float64)
    frames = play_episode(toy_agent(task), task, seeded(), Greedy(task.action_space))
    assert frames.scores["length"][-1] == frames.steps < 9
    assert frames.probabilities.shape == (frames.steps, 3) and frames.actions.shape == (frames.steps,)


def test_there_is_a_picture_before_each_step_and_after_the_last():
    task = Gymnasium(Painted, steps=9, dtype=torch.float64)
    frames = play_episode(toy_agent(task), task, seeded(), Greedy(task.action_space))
    assert [picture[0, 0, 0] for picture in frames.pictures] == [0, 10, 20, 30, 40] and frames.steps == 4


def test_a_team_and_a_maze_have_pictures_too():
    team = build_run("pettingzoo", env="toy_zoo:Meadow", steps=3, batch=2, **{"core.hidden_size": 4}).learner.agent
    meadow, maze = PettingZoo(env=PaintedMeadow, steps=3, agent_indicator=True), Maze.plasticity()
    for agent, task in ((team, meadow), (toy_agent(maze).float(), maze)):
        frames = play_episode(agent, task, seeded(), Greedy(task.action_space))
        assert len(frames.pictures) == frames.steps + 1
        png(episode_strip(frames))


def test_agents_that_act_one_after_the_other_have_one_picture_for_a_step_of_all():
    build = {"steps": 4, "batch": 2, "core.hidden_size": 4, "outer_steps": 1}
    agent = build_run("pettingzoo", env="toy_zoo:Turns", **build).learner.agent
    task = PettingZoo(env=PaintedTurns, agent_indicator=True)
    frames = play_episode(agent, task, seeded(), Greedy(task.action_space))
    assert [picture[0, 0, 0] for picture in frames.pictures] == [0, 10, 20, 30, 40] and frames.steps == 4


def test_an_environment_without_pictures_is_played_with_a_warning():
    task = Gymnasium(Blind, steps=9, dtype=torch.float64)
    with pytest.warns(UserWarning, match="no pictures of the environment: .*RuntimeError in reset: no screen"):
        frames = play_episode(toy_agent(task), task, seeded(), Greedy(task.action_space))
    assert len(frames.pictures) == 0 and frames.steps == 3


def test_the_width_of_an_edge_is_its_weight_in_this_step():
    task = game(steps=3)
    frames = play_episode(toy_agent(task, experts=3), task, seeded())
    frames = frames._replace(weights=torch.tensor([[0.1], [0.5], [1.0]]).expand_as(frames.weights))
    animation = animate(frames)
    for step, weight in enumerate([0.1, 0.5, 1.0]):
        animation._func(step)
        arrows = animation._fig.axes[0].patches
        assert [arrow.get_linewidth() for arrow in arrows] == pytest.approx([0.3 + 4.5 * weight] * len(arrows))
    animation._draw_was_started = True  # matplotlib warns of one that was never drawn


def test_a_gif_has_a_frame_for_each_step(tmp_path):
    task = game(steps=3)
    save_animation(animate(play_episode(toy_agent(task), task, seeded()), dpi=20), tmp_path / "a.gif")
    with Image.open(tmp_path / "a.gif") as image:
        assert image.n_frames == 3


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="ffmpeg is not installed")
def test_an_mp4_has_a_frame_for_each_step_whose_picture_is_the_worlds(tmp_path):
    task = Gymnasium(Painted, {"render_mode": "rgb_array"}, dtype=torch.float64)
    frames = play_episode(toy_agent(task), task, seeded(), Greedy(task.action_space))
    save_animation(animate(frames), tmp_path / "a.mp4")
    words = ["ffmpeg", "-v", "error", "-i", tmp_path / "a.mp4", tmp_path / "%d.png"]
    subprocess.run(words, check=True)
    shown = [np.asarray(Image.open(tmp_path / f"{i + 1}.png").convert("L"), float) for i in range(4)]
    assert not (tmp_path / "5.png").exists()
    assert all((before != after).any() for before, after in pairwise(shown))


@pytest.mark.parametrize("task", [RepeatPrevious(5, 2, dtype=torch.float64), game(steps=2), Steps(dtype=torch.float64)])
@pytest.mark.parametrize("experts", [1, 12])
def test_a_strip_of_any_episode_can_be_drawn(task, experts):
    policy = (Greedy(task.action_space),) if isinstance(task, Steps) else ()
    png(episode_strip(play_episode(toy_agent(task, experts=experts, port="mean"), task, seeded(), *policy)))


def test_inspect_animates_an_episode_with_a_slider(tmp_path, capsys):
    folder = str(tmp_path / "run")
    words = ["--outer-steps", "1", "--steps", "2", "--batch", "2", "--folder", folder, "--no-tensorboard"]
    assert main(["train", "guessing_game", *words]) == 0
    assert main(["inspect", folder, "--animate", str(tmp_path / "episode.html")]) == 0
    html = (tmp_path / "episode.html").read_text()
    assert 'type="range"' in html and html.count("data:image/png;base64") == 2
    assert f"episode of 2 steps              {tmp_path / 'episode.html'}" in capsys.readouterr().out
    assert main(["inspect", folder, "--animate", str(tmp_path / "episode.txt")]) == 2
    assert "want a file that ends in .html, .gif or .mp4" in capsys.readouterr().err


def test_integer_axes_have_integer_ticks():
    plot = figures.inner_curve(torch.tensor([1.0, 2.0, 3.0]), "error")
    assert all(tick == int(tick) for tick in plot.axes[0].get_xticks())
