"""The command `badger evaluate RUN`: scores of a trained agent on held-out episodes."""

import dataclasses
import json as json_format
from functools import partial
from pathlib import Path
from typing import Any

import tyro
from torch import Tensor
from tyro.conf import Positional

from badger.cli.loading import load
from badger.evaluation.evaluate import cap_episodes, evaluate, nan_mean_and_sem, replace_fields
from badger.learners.population import member_learners
from badger.rng import generator
from badger.rollouts.env_roundtrip import EnvRoundTrip, policy_for_env
from badger.runs.evaluations import write_evaluation
from badger.runs.recorder import nan_to_none
from tasks import Task

EPISODES = 1024
MAX_TOTAL_EXPERTS = 2**17  # experts in the episodes played if not told otherwise, at most

Scores = dict[str, Tensor]


def command(words: list[str]) -> int:
    """The words after `badger evaluate`; returns the exit code."""

    def evaluation(
        run: Positional[Path],
        *,
        experts: int | None = None,
        dims: int | None = None,
        steps: int | None = None,
        episodes: int | None = None,
        lesion: str = "",
        env_api: str | None = None,
        member: int = 0,
        best: bool = False,
        seed: int = 0,
        build: str | None = None,
        trust_code: bool = False,
        json: Path | None = None,
    ) -> int:
        """Play episodes with a trained agent, its weights fixed.

        With --grid, sizes may be lists, and other flags hold: badger evaluate --grid --help.

        Args:
            run: its folder.
            experts: how many; as trained if not given.
            dims: outputs of the task; as trained if not given.
            steps: inner steps of an episode; as trained if not given.
            episodes: how many are played; 1024 if not given, fewer of more than 128 experts, all of a finite task.
            lesion: experts taken out before the first step, such as 0,2.
            env_api: pettingzoo or gymnasium: episodes are played in environments of that library, made of the task.
            member: which agent of a population, from 0 on.
            best: play the checkpoint of the best averaged return, not the last one.
            seed: of the episodes, which no training meets.
            build: function that builds a run that no recipe has made, module:function, without arguments.
            trust_code: import code of others that its run.json names as module:name.
            json: file for the result.
        """
        loaded = load(run, best=best, build=build, trust_code=trust_code)
        learners = member_learners(loaded.learner)
        if not 0 <= member < len(learners):
            raise ValueError(f"--member {member}: the run has {len(learners)} of them, want 0 to {len(learners) - 1}")
        agent = learners[member].agent
        task = replace_fields(loaded.learner.task.evaluation_task, dims=dims, steps=steps)
        lost = [_integer(word) for word in lesion.split(",") if word]
        rng = generator(seed, "evaluate", device=loaded.device)
        lesioned = partial(agent.remove, experts=lost) if lost else None  # masks cost: none where nobody is absent
        count = agent.experts if experts is None else experts
        many = default_num_episodes(task, count) if episodes is None else episodes
        world, policy = task, learners[member].eval_policy
        if env_api is not None:
            world, policy = EnvRoundTrip(task, env_api), policy_for_env(policy, task.action_space)
        scores = evaluate(agent, world, many, rng, policy, experts=count, modify_state=lesioned)
        print(
            f"after {loaded.step} outer steps, with {count} experts"
            + (f" less {lost}" if lost else "")
            + (f", through {env_api}" if env_api is not None else "")
            + (f", member {member} of {len(learners)}, seed {learners[member].seed}" if len(learners) > 1 else "")
        )
        print_scores(scores, task.references())
        if not (best or lost or env_api or episodes) and (experts, dims, steps) == (None, None, None):
            write_evaluation(run, loaded.step, learners[member].seed, mean_scores(scores))
        if json is not None:
            about = {
                "run": str(run), "outer_step": loaded.step, "experts": count, "lesion": lost, "member": member,
                "seed": seed, "env_api": env_api,
            }  # fmt: skip
            text = json_format.dumps(about | _to_json_dict(task, scores), indent=2, default=str)  # str: of a dtype
            json.write_text(text + "\n")
        return 0

    return tyro.cli(evaluation, args=words, prog="badger evaluate")


def default_num_episodes(task: Task, experts: int) -> int | None:
    """How many episodes, if nothing else is asked for; None for all of a finite task."""
    return None if task.num_episodes is not None else max(4, cap_episodes(EPISODES, experts, MAX_TOTAL_EXPERTS))


def print_scores(scores: Scores, references: dict[str, dict[str, float]]) -> None:
    for name, values in scores.items():
        (mean, error), due = nan_mean_and_sem(values), int((~values.isnan()).sum())
        lines = ", ".join(f"{line} {value:.3g}" for line, value in references.get(name, {}).items())
        print(f"{name:<15} {mean:.4f} +- {error:.4f} over {due} episodes" + (f" ({lines})" if lines else ""))


def _to_json_dict(task: Task, scores: Scores) -> dict[str, Any]:
    """The task and its scores, for JSON."""
    return {
        "task": {field.name: getattr(task, field.name) for field in dataclasses.fields(task)},
        "episodes": len(scores["return"]),
        "references": task.references(),
        "notes": task.notes,
        "scores": mean_scores(scores),
    }


def mean_scores(scores: Scores) -> dict[str, dict[str, float | None]]:
    """Mean and standard error of each score over episodes, for JSON: None where they are not finite.

    Args:
        scores: values of each score, one an episode.
    """
    means = {name: dict(zip(("mean", "sem"), nan_mean_and_sem(values), strict=True)) for name, values in scores.items()}
    return {name: nan_to_none(mean) for name, mean in means.items()}


def _integer(word: str) -> int:
    try:
        return int(word)
    except ValueError:
        raise ValueError(f"--lesion wants experts such as 0,2, got {word!r}") from None
