"""An agent in environments of other libraries does what it does in the task that they are made of."""

import json

import pytest
import torch
from torch.testing import assert_close

from badger import AssociativeRecall, BAbI, Maze, PooledRecall, RepeatPrevious, Sampled, evaluate, sense
from badger.cli import evaluate as evaluate_command
from badger.cli.main import main
from badger.policies.policies import identity_policy
from badger.rollouts.env_libraries import LIBRARIES
from badger.rollouts.env_roundtrip import EnvRoundTrip, policy_for_env
from tiny_runs import made
from toy_teams import Ballot, Choosy, Flock
from toys import Steps, Walk, game, seeded, toy_agent

TASKS = {
    "game": game(),
    "repeat": RepeatPrevious(6, 2, dtype=torch.float64),
    "parts": AssociativeRecall(2, 1, 3, dtype=torch.float64),
    "rows": PooledRecall(dtype=torch.float64),
    "maze": Maze(6, size=5, dtype=torch.float64),
    "ends": Walk(dtype=torch.float64),
    "masks": Steps(dtype=torch.float64),
    "masked parts": Choosy(2, 1, 3, dtype=torch.float64),
}
of_tasks = pytest.mark.parametrize("task", TASKS.values(), ids=TASKS)
of_libraries = pytest.mark.parametrize("library", LIBRARIES)


def agent_for(task):
    agent = toy_agent(task)
    if isinstance(task, PooledRecall):
        agent.sense = sense.PerExpert(task.obs_size)
    return agent


@of_tasks
@of_libraries
def test_scores_are_those_of_the_same_episodes_played_by_ourselves(task, library):
    agent, policy = agent_for(task), policy_for_env(identity_policy, task.action)
    ours = evaluate(agent, task, 6, seeded(), policy)
    theirs = evaluate(agent, EnvRoundTrip(task, library), 6, seeded(), policy)
    assert ours.keys() == theirs.keys()
    for name in ours:
        assert_close(theirs[name], ours[name], rtol=1e-12, atol=1e-12, equal_nan=True)


@of_libraries
def test_chance_of_the_agent_is_the_same_too(library):
    task = Steps(dtype=torch.float64)
    agent, policy = toy_agent(task), Sampled(task.action_space)
    ours, theirs = (evaluate(agent, one, 6, seeded(), policy)["return"] for one in (task, EnvRoundTrip(task, library)))
    assert torch.equal(ours, theirs)


@of_libraries
def test_a_finite_task_is_played_from_its_first_episode_to_its_last(library):
    task = BAbI(16, (1, 8), dtype=torch.float64)
    agent = toy_agent(task)
    ours = evaluate(agent, task, None, seeded(), policy_for_env(identity_policy, task.action_space))["error"]
    theirs = evaluate(
        agent, EnvRoundTrip(task, library), None, seeded(), policy_for_env(identity_policy, task.action_space)
    )["error"]
    assert len(ours) == task.num_episodes and torch.equal(ours, theirs)


def same(ours, theirs):
    for name in ours._fields:
        one, other = getattr(ours, name), getattr(theirs, name)
        pairs = [(one[n], other[n]) for n in one] if name == "scores" else [(one, other)] if one is not None else []
        assert name == "scores" or (one is None) == (other is None)
        for a, b in pairs:
            assert_close(b, a, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("task", "library"),
    [(task, library) for task in (*TASKS.values(), Ballot()) for library in LIBRARIES] + [(Flock(), "pettingzoo")],
    ids=str,
)
def test_a_step_tells_all_that_the_task_tells(task, library):
    """Until an episode is over: what is told of it then is not looked at. Nor what would be legal for who is gone."""
    through = EnvRoundTrip(task, library)
    (ours, told), (theirs, heard) = task.reset(3, seeded()), through.reset(3, seeded())
    same(told, heard)
    for t in range(min(task.steps, 6)):
        output = torch.randn(*told.reward.shape, task.action.size, generator=seeded(t), dtype=task.dtype)
        action = policy_for_env(identity_policy, task.action)(output, told.action_mask, seeded())
        over = (told.terminated | told.truncated).reshape(3, -1).all(1)
        (ours, told), (theirs, heard) = task.step(ours, action, seeded()), through.step(theirs, action, seeded())
        if through.agents is not None:
            gone = (told.terminated | told.truncated).unsqueeze(-1)
            told, heard = (step._replace(action_mask=step.action_mask | gone) for step in (told, heard))
        same(*(step._replace(**{n: _where(~over, getattr(step, n)) for n in step._fields}) for step in (told, heard)))


def _where(mask, part):
    if isinstance(part, dict):
        return {name: _where(mask, one) for name, one in part.items()}
    return None if part is None else part[mask]


@of_libraries
def test_restart_opens_new_episodes_in_its_rows_only(library):
    task = EnvRoundTrip(Walk(dtype=torch.float64), library)
    state, before = task.reset(4, seeded())
    mask = torch.tensor([True, False, True, False])
    restarted, opened = task.restart(state, mask, seeded(5))
    assert torch.equal(opened.obs[mask], task.reset(4, seeded(5))[1].obs[mask])
    _, after = task.step(restarted, torch.zeros(4, 1), seeded())
    assert torch.equal(after.obs[:, 0], torch.where(mask, opened.obs[:, 0], before.obs[:, 0]))


def test_an_unknown_library_is_refused():
    with pytest.raises(ValueError, match=r"library 'gym'.*pettingzoo, gymnasium"):
        EnvRoundTrip(game(), "gym")


def test_a_task_that_the_library_does_not_serve_is_refused():
    with pytest.raises(ValueError, match=r"use tasks.to_parallel_env"):
        EnvRoundTrip(Flock(), "gymnasium")


def test_logits_are_refused():
    task = EnvRoundTrip(Steps(), "gymnasium")
    state, _ = task.reset(2, seeded())
    with pytest.raises(ValueError, match=r"logits \(2, 3\), want integers"):
        task.step(state, torch.zeros(2, 3), seeded())


# --- the command


@pytest.fixture
def command(capsys):
    """Runs a command; gives its exit code, standard output and standard error."""

    def run(*words):
        return main([str(word) for word in words]), *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = made(tmp_path_factory.mktemp("through") / "run")
    run.save()
    return run.folder


@of_libraries
def test_the_command_prints_the_scores_of_the_same_episodes(folder, library, tmp_path, command, monkeypatch):
    told, played = [], []
    spied = lambda agent, task, *rest, **more: played.append(task) or evaluate(agent, task, *rest, **more)  # noqa: E731
    monkeypatch.setattr(evaluate_command, "evaluate", spied)
    for words in ([], ["--through", library]):
        code, out, _ = command(
            "evaluate", folder, "--trust-code", "--episodes", 8, "--json", tmp_path / "told.json", *words
        )
        told.append(json.loads((tmp_path / "told.json").read_text()))
        assert code == 0 and (f"through {library}" in out) == bool(words)
    ours, theirs = told
    assert [type(task).__name__ for task in played] == ["GuessingGame", "Through"]
    assert ours["through"] is None and theirs["through"] == library
    assert ours["task"] == theirs["task"] and ours["references"] == theirs["references"]
    for name, score in ours["scores"].items():
        assert theirs["scores"][name] == pytest.approx(score, rel=1e-5)


def test_the_command_refuses_another_library(folder, command):
    code, _, err = command("evaluate", folder, "--trust-code", "--through", "gym")
    assert code == 1 and "library 'gym'" in err and "pettingzoo, gymnasium" in err
