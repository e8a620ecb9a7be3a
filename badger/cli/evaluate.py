"""The command `badger evaluate`: scores of a trained agent on held-out episodes."""

import dataclasses
import json as json_format
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor
from tyro.conf import Positional

from badger.cli.loading import choose_member, load
from badger.cli.paths import check_output_file
from badger.cli.usage import Work, parse
from badger.evaluation.evaluate import cap_episodes, check_evaluation, evaluate, nan_mean_and_sem, replace_fields
from badger.learners.population import member_learners
from badger.rng import generator
from badger.rollouts.env_roundtrip import EnvRoundTrip, policy_for_env
from badger.runs.evaluations import mean_scores, write_evaluation
from tasks import Task

EPISODES = 1024  # default number
MAX_TOTAL_EXPERTS = 2**17  # maximum of episodes x experts by default

Scores = dict[str, Tensor]


def command(argv: list[str]) -> Work:
    """Loads the run of `badger evaluate`; the work evaluates it.

    Args:
        argv: arguments after the command.
    """

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
    ) -> Work:
        """Evaluate a trained agent on held-out episodes, with fixed weights.

        With --grid, sizes may be lists, and there are other flags: badger evaluate --grid --help.

        Args:
            run: run folder.
            experts: number of experts; default: as in training.
            dims: outputs of the task; default: as in training.
            steps: inner steps of an episode; default: as in training.
            episodes: number of episodes; default: 1024, fewer with more than 128 experts, all of a finite task.
            lesion: experts that are removed before the first step, such as 0,2.
            env_api: pettingzoo or gymnasium: run the episodes in an environment of that library, made from the task.
            member: index of an agent in a population, from 0 on.
            best: use the checkpoint with the best moving average, not the last one.
            seed: of the episodes.
            build: module:function that returns the untrained run, for a run that was built without a recipe.
            trust_code: allow importing code of others that its run.json names.
            json: file for the result.
        """
        check_output_file("json", json)
        loaded = load(run, best=best, build=build, trust_code=trust_code)
        learner, num_members = choose_member(loaded, member), len(member_learners(loaded.learner))
        agent = learner.agent
        count = agent.experts if experts is None else experts
        task = replace_fields(loaded.learner.task.evaluation_task, dims=dims, steps=steps)
        lesioned = _expert_indices(lesion, count)
        rng = generator(seed, "evaluate", device=loaded.device)
        modify_state = partial(agent.remove, experts=lesioned) if lesioned else None  # without a lesion, no mask
        num_episodes = default_num_episodes(task, count) if episodes is None else episodes
        env, policy = task, learner.eval_policy
        if env_api is not None:
            env, policy = EnvRoundTrip(task, env_api), policy_for_env(policy, task.action_space)
        check_evaluation(agent, env, num_episodes, policy, experts=count)

        def work() -> int:
            scores = evaluate(agent, env, num_episodes, rng, policy, experts=count, modify_state=modify_state)
            print(
                f"after {loaded.step} outer steps, with {count} experts"
                + (f" without {lesioned}" if lesioned else "")
                + (f", in {env_api}" if env_api is not None else "")
                + (f", member {member} of {num_members}, seed {learner.seed}" if num_members > 1 else "")
            )
            print_scores(scores, task.references())
            if not (best or lesioned or env_api or episodes) and (experts, dims, steps) == (None, None, None):
                write_evaluation(run, loaded.step, learner.seed, mean_scores(scores))
            if json is not None:
                settings = {
                    "run": str(run), "outer_step": loaded.step, "experts": count, "lesion": lesioned, "member": member,
                    "seed": seed, "env_api": env_api,
                }  # fmt: skip
                text = json_format.dumps(settings | _to_json_dict(task, scores), indent=2, default=str)  # str: a dtype
                json.write_text(text + "\n")
            return 0

        return work

    return parse(evaluation, argv, prog="badger evaluate")


def default_num_episodes(task: Task, experts: int) -> int | None:
    """Default number of episodes; None for all episodes of a finite task.

    Args:
        task: of the episodes.
        experts: number of experts.
    """
    return None if task.num_episodes is not None else max(4, cap_episodes(EPISODES, experts, MAX_TOTAL_EXPERTS))


def print_scores(scores: Scores, references: dict[str, dict[str, float]]) -> None:
    """Prints mean and standard error of each score, with its reference scores.

    Args:
        scores: one value for each episode; NaN where there is none.
        references: by score, reference values by name.
    """
    for name, values in scores.items():
        (mean, sem), count = nan_mean_and_sem(values), int((~values.isnan()).sum())
        lines = ", ".join(f"{line} {value:.3g}" for line, value in references.get(name, {}).items())
        print(f"{name:<15} {mean:.4f} +- {sem:.4f} over {count} episodes" + (f" ({lines})" if lines else ""))


def _to_json_dict(task: Task, scores: Scores) -> dict[str, Any]:
    """The task and its scores, for JSON."""
    return {
        "task": {field.name: getattr(task, field.name) for field in dataclasses.fields(task)},
        "episodes": len(scores["return"]),
        "references": task.references(),
        "notes": task.notes,
        "scores": mean_scores(scores),
    }


def _expert_indices(text: str, experts: int) -> list[int]:
    """The experts that `--lesion` names."""
    indices = [part for part in text.split(",") if part]
    for part in indices:
        if not part.isdecimal() or int(part) >= experts:
            raise ValueError(f"--lesion {text}: want indices of experts from 0 to {experts - 1}, such as 0,2")
    return list(map(int, indices))
