"""The command `badger evaluate`: scores of a trained agent on held-out episodes."""

import dataclasses
import json as json_format
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from tyro.conf import Positional

from badger.cli.loading import Subject, load_subject
from badger.cli.paths import check_output_file
from badger.cli.usage import Work, parse
from badger.evaluation.default_size import describe_limit
from badger.evaluation.evaluate import check_evaluation, evaluate, nan_mean_and_sem, replace_fields
from badger.figures.curves import asked_returns
from badger.learners import Learner
from badger.policies.deterministic import policy_for_env
from badger.policies.policies import Policy
from badger.rollouts.env_roundtrip import EnvRoundTrip
from badger.runs.evaluations import mean_scores, write_evaluation
from badger.runs.protocol import DETERMINISTIC, SAMPLED, evaluation_policies, learner_evaluation
from experts import set_target_return
from tasks import Task

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
        deterministic: bool = False,
        sampled: bool = False,
        lesion: str = "",
        target_return: tuple[float, ...] = (),
        target_rewards: tuple[str, ...] = (),
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
            episodes: number of episodes; default: as many as fit into a tenth of the trained environment steps, 10 to
                100; all of a finite task. By default, after a short training, those of an external environment are
                truncated at a hundredth of the trained steps, but not below 1,000 steps.
            deterministic: take the most likely actions; default: as the learner was told by its eval_policy.
            sampled: sample the actions, as in training.
            lesion: indices of experts, such as 0,2, that are removed before the first step.
            target_return: the return that a Decision Transformer is asked for; default: as in training. Several, such
                as 0 0.5 1, are compared with what is achieved, in a picture, too.
            target_rewards: the rewards that a Generalised Decision Transformer is asked for, such as 30x0.6 30x-0.6:
                0.6 in 30 steps, and -0.6 in 30; default: as in training.
            env_api: pettingzoo or gymnasium: run the episodes in an environment of that library, made from the task.
            member: index of an agent in a population, from 0 on.
            best: use best.pt, the checkpoint of the best figure of training or evaluation, not the last one.
            seed: of the episodes.
            build: module:function that returns the untrained run, for a run that was built without a recipe.
            trust_code: allow importing code of others that its run.json names.
            json: file for the result.
        """
        check_output_file("json", json)
        subject = load_subject(
            run, member=member, best=best, seed=seed, build=build, trust_code=trust_code,
            target_return=next(iter(target_return), None), target_rewards=target_rewards,
        )  # fmt: skip
        name, policy = choose_policy(subject.learner, deterministic, sampled)
        count = subject.agent.experts if experts is None else experts
        as_trained = not (
            best or lesion or env_api or episodes or deterministic or sampled or target_return or target_rewards
        )
        task, default_episodes = learner_evaluation(subject.learner)
        evaluated = _Evaluation(
            subject,
            task=replace_fields(task if episodes is None else subject.task, dims=dims, steps=steps),
            experts=count,
            episodes=default_episodes if episodes is None else episodes,
            policy_name=name,
            policy=policy,
            truncated=(episodes, steps) == (None, None) and task.steps < subject.task.steps,
            lesion=_expert_indices(lesion, count),
            env_api=env_api,
            saved=as_trained and (experts, dims, steps) == (None, None, None),
        )
        evaluated.check()
        asked = {"target_return": target_return, "target_rewards": target_rewards}
        settings = {"run": str(run), "seed": seed} | {name: value for name, value in asked.items() if value}
        if len(target_return) > 1:
            return partial(evaluated.compare_asked, target_return, json, settings)
        return partial(evaluated.work, json, settings)

    return parse(evaluation, argv, prog="badger evaluate")


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Evaluation:
    """What is evaluated: an agent, its sizes and lesions, the task, and the policy.

    Args:
        truncated: whether long episodes are truncated, as they are by default after a short training.
        saved: whether it is the evaluation of the run, in its evaluation.json.
    """

    subject: Subject = dataclasses.field(kw_only=False)
    task: Task
    experts: int
    episodes: int | None
    policy_name: str
    policy: Policy
    truncated: bool
    lesion: list[int]
    env_api: str | None
    saved: bool

    @property
    def env_and_policy(self) -> tuple[Task, Policy]:
        """The task, or its environments of another library, and the policy there."""
        if self.env_api is None:
            return self.task, self.policy
        return EnvRoundTrip(self.task, self.env_api), policy_for_env(self.policy, self.task.action_space)

    def check(self) -> None:
        """Raises ValueError if the agent cannot be evaluated so."""
        env, policy = self.env_and_policy
        check_evaluation(self.subject.agent, env, self.episodes, policy, experts=self.experts)

    def work(self, json: Path | None, settings: dict[str, Any]) -> int:
        """Evaluates, prints, and writes the result; returns the exit code."""
        subject, scores = self.subject, self.scores(self.subject.rng)
        print(self.heading())
        print_scores(scores, self.task.references(), self.policy_name)
        if self.truncated and (limit := describe_limit(self.task, subject.task, scores)):
            print(limit)
        if self.saved and subject.run.folder is not None:
            write_evaluation(subject.run.folder, subject.run.step, subject.learner.seed, mean_scores(scores))
        if json is not None:
            write_json(json, settings | self.described(scores))
        return 0

    def scores(self, rng: torch.Generator) -> Scores:
        """The scores of the episodes that the generator draws."""
        env, policy = self.env_and_policy
        agent = self.subject.agent
        modify = partial(agent.remove, experts=self.lesion) if self.lesion else None  # without one, no mask
        return evaluate(
            agent, env, self.episodes, rng, policy, experts=self.experts, modify_state=modify, progress=True
        )

    def compare_asked(self, targets: tuple[float, ...], json: Path | None, settings: dict[str, Any]) -> int:
        """Prints and draws what is achieved of each return that the agent is asked for; returns the exit code."""
        subject, results = self.subject, {}
        print(self.heading())
        for target in sorted(set(targets)):
            set_target_return(subject.agent, target)
            results[target] = self.scores(subject.rng.clone_state())
            print(f"asked for a return of {target:g}")
            print_scores(results[target], self.task.references(), self.policy_name)
        if json is not None:
            write_json(json, settings | {"asked": {target: self.described(one) for target, one in results.items()}})
        if subject.run.folder is not None:
            picture = subject.run.folder / "asked_returns.png"
            achieved = {target: nan_mean_and_sem(scores["return"]) for target, scores in results.items()}
            asked_returns(achieved).savefig(picture)
            print(f"asked and achieved returns  {picture}")
        return 0

    def heading(self) -> str:
        """What was evaluated, in one line."""
        subject = self.subject
        return (
            f"after {subject.run.step} outer steps, with {self.experts} experts"
            + (f" without {self.lesion}" if self.lesion else "")
            + (f", in {self.env_api}" if self.env_api is not None else "")
            + (
                f", member {subject.member} of {subject.num_members}, seed {subject.learner.seed}"
                if subject.num_members > 1
                else ""
            )
        )

    def described(self, scores: Scores) -> dict[str, Any]:
        """The result, for JSON."""
        task, subject = self.task, self.subject
        return {
            "outer_step": subject.run.step, "experts": self.experts, "lesion": self.lesion, "member": subject.member,
            "env_api": self.env_api, "policy": self.policy_name,
            "task": {field.name: getattr(task, field.name) for field in dataclasses.fields(task)},
            "episodes": len(scores["return"]), "truncated_after": task.steps if self.truncated else None,
            "references": task.references(), "notes": task.notes,
            "scores": mean_scores(scores),
        }  # fmt: skip


def choose_policy(learner: Learner, deterministic: bool, sampled: bool) -> tuple[str, Policy]:
    """The policy that the flags name, or else the learner's own, with its name.

    Args:
        learner: of one agent.
        deterministic: --deterministic is given.
        sampled: --sampled is given.

    Raises:
        ValueError: both are given, or the agent's actions are not sampled.
    """
    policies = evaluation_policies(learner)
    if deterministic and sampled:
        raise ValueError("--sampled: --deterministic is given, too; want one of them")
    if sampled and SAMPLED not in policies:
        raise ValueError(f"--sampled: the actions of {type(learner).__name__} are not sampled; leave it out")
    name = DETERMINISTIC if deterministic else SAMPLED if sampled else next(iter(policies))
    return name, policies[name]


def write_json(file: Path, result: dict[str, Any]) -> None:
    """Writes a result.

    Args:
        file: to be written.
        result: of plain types; others as their text, such as a dtype.
    """
    file.write_text(json_format.dumps(result, indent=2, default=str) + "\n")


def print_scores(scores: Scores, references: dict[str, dict[str, float]], policy: str) -> None:
    """Prints mean and standard error of each score, with its reference scores.

    Args:
        scores: one value for each episode; NaN where there is none.
        references: by score, reference values by name.
        policy: name of the policy.
    """
    for name, values in scores.items():
        (mean, sem), count = nan_mean_and_sem(values), int((~values.isnan()).sum())
        lines = ", ".join(f"{line} {value:.3g}" for line, value in references.get(name, {}).items())
        print(f"{name:<15} {mean:.4f} +- {sem:.4f} over {count} episodes, {policy}" + (f" ({lines})" if lines else ""))


def _expert_indices(text: str, experts: int) -> list[int]:
    """The experts that `--lesion` names."""
    indices = [part for part in text.split(",") if part]
    for part in indices:
        if not part.isdecimal() or int(part) >= experts:
            raise ValueError(f"--lesion {text}: want indices of experts from 0 to {experts - 1}, such as 0,2")
    return list(map(int, indices))
