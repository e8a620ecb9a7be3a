"""An agent acts in Gymnasium and PettingZoo environments of a task as in the task itself."""

import json

import pytest
import torch
from torch.testing import assert_close

from badger import AssociativeRecall, BAbI, Maze, PooledRecall, RepeatPrevious, Sampled, evaluate, sense
from badger.cli import evaluate as evaluate_command
from badger.cli.main import main
from badger.policies.deterministic import policy_for_env
from badger.policies.policies import identity_policy
from badger.rollouts.env_libraries import LIBRARIES
from badger.rollouts.env_roundtrip import EnvRoundTrip
from tasks import Gymnasium, InputTape, Notes
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
    "choices beside numbers": Notes(Steps(dtype=torch.float64), 1, 1),
    "masks beside numbers": InputTape(2, symbols=3, timed=True, dtype=torch.float64),
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
def test_scores_equal_those_of_the_task(task, library):
    agent, policy = agent_for(task), policy_for_env(identity_policy, task.action_space)
    direct = evaluate(agent, task, 6, seeded(), policy)
    through_env = evaluate(agent, EnvRoundTrip(task, library), 6, seeded(), policy)
    assert direct.keys() == through_env.keys()
    for name in direct:
        assert_close(through_env[name], direct[name], rtol=1e-12, atol=1e-12, equal_nan=True)


@of_libraries
def test_samples_of_the_policy_are_the_same(library):
    task = Steps(dtype=torch.float64)
    agent, policy = toy_agent(task), Sampled(task.action_space)
    direct, through_env = (
        evaluate(agent, t, 6, seeded(), policy)["return"] for t in (task, EnvRoundTrip(task, library))
    )
    assert torch.equal(direct, through_env)


@of_libraries
def test_a_finite_task_is_evaluated_on_all_its_episodes(library):
    task = BAbI(16, (1, 8), dtype=torch.float64)
    agent = toy_agent(task)
    direct = evaluate(agent, task, None, seeded(), policy_for_env(identity_policy, task.action_space))["error"]
    through_env = evaluate(
        agent, EnvRoundTrip(task, library), None, seeded(), policy_for_env(identity_policy, task.action_space)
    )["error"]
    assert len(direct) == task.num_episodes and torch.equal(direct, through_env)


def same(direct, through_env):
    for name in direct._fields:
        a_part, b_part = getattr(direct, name), getattr(through_env, name)
        pairs = (
            [(a_part[n], b_part[n]) for n in a_part]
            if name == "scores"
            else [(a_part, b_part)]
            if a_part is not None
            else []
        )
        assert name == "scores" or (a_part is None) == (b_part is None)
        for a, b in pairs:
            assert_close(b, a, rtol=0, atol=0, equal_nan=True)


@pytest.mark.parametrize(
    ("task", "library"),
    [(task, library) for task in (*TASKS.values(), Ballot()) for library in LIBRARIES]
    + [(task, "pettingzoo") for task in (Flock(), Notes(Flock(), 1, 1))],
    ids=str,
)
def test_a_step_equals_that_of_the_task(task, library):
    """Up to the end of an episode, and except action masks of agents that have ended."""
    round_trip = EnvRoundTrip(task, library)
    (direct, step), (through_env, env_step) = task.reset(3, seeded()), round_trip.reset(3, seeded())
    same(step, env_step)
    for t in range(min(task.steps, 6)):
        output = torch.randn(*step.reward.shape, task.action_space.size, generator=seeded(t), dtype=task.dtype)
        action, _ = policy_for_env(identity_policy, task.action_space)(output, step.action_mask, (), seeded())
        done = (step.terminated | step.truncated).reshape(3, -1).all(1)
        (direct, step), (through_env, env_step) = (
            task.step(direct, action, seeded()),
            round_trip.step(through_env, action, seeded()),
        )
        if round_trip.agents is not None:
            gone = (step.terminated | step.truncated).unsqueeze(-1)
            step, env_step = (s._replace(action_mask=s.action_mask | gone) for s in (step, env_step))
        same(*(s._replace(**{n: _where(~done, getattr(s, n)) for n in s._fields}) for s in (step, env_step)))


def _where(mask, part):
    if isinstance(part, dict):
        return {name: _where(mask, value) for name, value in part.items()}
    return None if part is None else part[mask]


@of_libraries
def test_a_restart_starts_new_episodes_in_its_rows_only(library):
    task = EnvRoundTrip(Walk(dtype=torch.float64), library)
    state, before = task.reset(4, seeded())
    mask = torch.tensor([True, False, True, False])
    restarted, opened = task.restart(state, mask, seeded(5))
    assert torch.equal(opened.obs[mask], task.reset(4, seeded(5))[1].obs[mask])
    _, after = task.step(restarted, torch.zeros(4, 1), seeded())
    assert torch.equal(after.obs[:, 0], torch.where(mask, opened.obs[:, 0], before.obs[:, 0]))


def test_an_unknown_library_raises():
    with pytest.raises(ValueError, match=r"library 'gym'.*pettingzoo, gymnasium"):
        EnvRoundTrip(game(), "gym")


def test_a_task_that_the_library_does_not_support_raises():
    with pytest.raises(ValueError, match=r"use tasks.to_parallel_env"):
        EnvRoundTrip(Flock(), "gymnasium")


def test_a_task_with_environments_of_its_own_raises():
    with pytest.raises(ValueError, match="has external environments already: evaluate it without env_api"):
        EnvRoundTrip(Notes(Gymnasium("CartPole-v1"), 1), "gymnasium").reset(2, seeded())


def test_logits_raise():
    task = EnvRoundTrip(Steps(), "gymnasium")
    state, _ = task.reset(2, seeded())
    with pytest.raises(ValueError, match=r"logits \(2, 3\), want integers"):
        task.step(state, torch.zeros(2, 3), seeded())


def test_logits_beside_numbers_raise():
    task = EnvRoundTrip(InputTape(2, symbols=3), "gymnasium")
    state, _ = task.reset(2, seeded())
    with pytest.raises(ValueError, match=r"logits \(2, 8\), want integers"):
        task.step(state, torch.zeros(2, 8), seeded())


# --- the command


@pytest.fixture
def command(capsys):
    """Runs a command; gives its exit code, standard output and standard error."""

    def run(*argv):
        return main([str(arg) for arg in argv]), *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    run = made(tmp_path_factory.mktemp("through") / "run")
    run.save()
    return run.folder


@of_libraries
def test_the_command_prints_the_scores_of_the_same_episodes(folder, library, tmp_path, command, monkeypatch):
    step, played = [], []
    spied = lambda agent, task, *rest, **more: played.append(task) or evaluate(agent, task, *rest, **more)  # noqa: E731
    monkeypatch.setattr(evaluate_command, "evaluate", spied)
    for words in ([], ["--env-api", library]):
        code, out, _ = command(
            "evaluate", folder, "--trust-code", "--episodes", 8, "--json", tmp_path / "result.json", *words
        )
        step.append(json.loads((tmp_path / "result.json").read_text()))
        assert code == 0 and (library in out) == bool(words)
    direct, through_env = step
    assert [type(task).__name__ for task in played] == ["GuessingGame", "EnvRoundTrip"]
    assert direct["env_api"] is None and through_env["env_api"] == library
    assert direct["task"] == through_env["task"] and direct["references"] == through_env["references"]
    for name, score in direct["scores"].items():
        assert through_env["scores"][name] == pytest.approx(score, rel=1e-5)


def test_the_command_refuses_another_library(folder, command):
    code, _, err = command("evaluate", folder, "--trust-code", "--env-api", "gym")
    assert code == 2 and "library 'gym'" in err and "pettingzoo, gymnasium" in err
