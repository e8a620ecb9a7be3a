"""Recipes of games: some in which many experts act together, and Catch and a gamble for one."""

from typing import Any

from badger.learners.schedules import LinearEpsilon
from badger.recipes.flags import recipe
from badger.recipes.sequences import SINGLE_EXPERT_DEFAULTS
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import Catch, Gambling, GuessingGame, IntOrRange, PooledRecall, RandomSizes, RepeatPrevious


@recipe(core="episodic", sense="scaled", **{"sense.scale": 2 / 3})  # 4 dimensions: the sum of squared errors
def guessing_game(setup: Setup, *, dims: IntOrRange = 4, steps: IntOrRange = 20) -> Run:
    """Experts find a hidden vector from the error of each guess alone (Andersson 2020).

    Args:
        dims: numbers to be guessed; two numbers: a range, drawn for each outer step.
        steps: guesses in an episode; two numbers: a range, drawn for each outer step.
    """
    return setup.make_run(RandomSizes(GuessingGame(), {"dims": dims, "steps": steps}).simplify())


@recipe(act="readout", lr=3e-3, outer_steps=500, **{"core.hidden_size": 32})
def repeat_previous(setup: Setup, *, k: int = 4, symbols: int = 4, steps: int = 16) -> Run:
    """Experts name the symbol shown k steps ago: supervised, through logits (Morad et al. 2023).

    Args:
        k: delay in steps.
        symbols: number of different symbols.
        steps: symbols shown in an episode.
    """
    return setup.make_run(RepeatPrevious(k=k, symbols=symbols, steps=steps))


@recipe(
    core="episodic_shared", sense="per_expert", act="mean", bus="silent", identity_size=2, lr=1e-2, outer_steps=400,
    **{"core.hidden_size": 32},
)  # fmt: skip
def pooled_recall(setup: Setup, *, values: int = 4, steps: int = 8, num_queries: int = 4) -> Run:
    """Experts are queried for what any of them has observed, without time to communicate: sharing a memory must help.

    Raises:
        ValueError: a range of experts.

    Args:
        values: number of different values.
        steps: pairs shown to each expert, and queries.
        num_queries: queries at the end of an episode.
    """
    if not isinstance(setup.experts, int):
        raise ValueError(f"experts={setup.experts}, want one number: each expert is shown pairs of its own")
    return setup.make_run(PooledRecall(steps=steps, experts=setup.experts, values=values, num_queries=num_queries))


CATCH_DEFAULTS: dict[str, Any] = SINGLE_EXPERT_DEFAULTS | {
    "core": "feedforward", "learner": "dqn", "batch": 1, "outer_steps": 400,
}  # fmt: skip
CATCH_DQN: dict[str, Any] = {
    "gradient_steps": 9, "prefill": 32, "target_update_interval": 50, "exploration": LinearEpsilon(1.0, 0.05, 900),
}  # fmt: skip
CATCH_LEARNERS: dict[str, dict[str, Any]] = {
    "dqn": CATCH_DQN,
    "emdqn": CATCH_DQN,
    "mfec": {"exploration": LinearEpsilon(1.0, 0.005, 90)},
    "nec": {"exploration": LinearEpsilon(1.0, 0.05, 900)},
}


@recipe({"learner": CATCH_LEARNERS}, **CATCH_DEFAULTS)
def catch(setup: Setup, *, rows: int = 10, columns: int = 5) -> Run:
    """One expert without memory moves a paddle below a falling ball (Mnih et al. 2014; Osband et al. 2020).

    With the default batch of 1 an outer step is an episode, with an optimizer step for each of its moves.

    Args:
        rows: of the board; the ball falls one in each step.
        columns: of the board.
    """
    task = Catch(rows=rows, columns=columns)
    return setup.make_run(task, learner_defaults={"horizon": task.steps})


@recipe(
    {"learner": {"ppo": {"epochs": 4, "minibatches": 4}}},
    **SINGLE_EXPERT_DEFAULTS | {"core": "feedforward", "learner": "ppo", "batch": 64, "lr": 3e-3, "outer_steps": 100},
)
def gambling(setup: Setup, *, steps: int = 1) -> Run:
    """One expert learns that a gamble pays less on average than the safe choice (Paster et al. 2022).

    Args:
        steps: number of rounds.
    """
    return setup.make_run(Gambling(steps), learner_defaults={"horizon": steps})
