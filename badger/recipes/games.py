"""Recipes of games in which many experts act together."""

from badger.recipes.flags import recipe
from badger.recipes.settings import Setup
from badger.runs.run import Run
from tasks import GuessingGame, IntOrRange, PooledRecall, RandomSizes, RepeatPrevious


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
