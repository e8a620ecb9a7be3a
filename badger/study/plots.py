"""Evidence as pictures."""

import numpy as np

from badger import figures
from badger.study.results import StudyResults
from badger.study.statistics import bootstrap, performance_profile
from badger.study.tables import SEED

POINTS = 200  # of a profile


def plot_results(evidence: StudyResults) -> dict[str, figures.Figure]:
    """By name, without suffix. A picture of nothing is left out."""
    curves = {arm: _curve(evidence, arm) for arm in evidence.arms if any(o.curve[0] for o in evidence.trials(arm))}
    lines = evidence.references | ({"threshold": evidence.threshold} if evidence.threshold is not None else {})
    label = f"moving average of {evidence.score}"
    found = {"learning_curves": figures.learning_bands(curves, lines, label)} if curves else {}
    if profiles := _profiles(evidence):
        sign = "<=" if evidence.better == "lower" else ">="
        threshold = f"threshold of {evidence.score} at the end"
        fraction = f"fraction of runs {sign} threshold"
        found["performance_profiles"] = figures.performance_profiles(profiles, threshold, fraction)
    return found


def _curve(evidence: StudyResults, arm: str) -> figures.Band:
    """The median over runs, and their middle half, up to where the first of them ended; less those that diverged."""
    outcomes = [outcome for outcome in evidence.trials(arm) if outcome.curve[0]]
    curves = [outcome.curve for outcome in outcomes if not outcome.diverged] or [o.curve for o in outcomes]
    length = min(len(steps) for steps, _ in curves)
    values = np.array([values[:length] for _, values in curves])
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return figures.Band(np.array(curves[0][0][:length]), middle, low, high)


def _profiles(evidence: StudyResults) -> dict[str, figures.Band]:
    """With 95 % bootstrap intervals, at each threshold by itself; a run that diverged meets no threshold."""
    worst = np.inf if evidence.better == "lower" else -np.inf
    finals = {arm: np.array(evidence.final_scores(arm)) for arm in evidence.arms if evidence.trials(arm)}
    known = np.array([value for values in finals.values() for value in values if not np.isnan(value)])
    if np.unique(known).size < 2:  # a step at one place tells nothing
        return {}
    space = np.geomspace if known.min() > 0 else np.linspace
    thresholds = np.unique([*space(known.min(), known.max(), POINTS), *known])
    bands = {}
    for arm, values in finals.items():
        scores = np.where(np.isnan(values), worst, values)

        def profile(drawn: np.ndarray) -> np.ndarray:
            return performance_profile(drawn, thresholds, evidence.better)

        low, high = bootstrap([scores], profile, np.random.default_rng(SEED))
        bands[arm] = figures.Band(thresholds, profile(scores), low, high)
    return bands
