"""Figures of a report: learning curves and performance profiles."""

import numpy as np

from badger import figures
from badger.study.results import StudyResults
from badger.study.statistics import bootstrap, performance_profile
from badger.study.tables import SEED

POINTS = 200  # thresholds of a profile


def plot_results(results: StudyResults) -> dict[str, figures.Figure]:
    """Figures by file name without suffix; a figure without data is left out.

    Args:
        results: of a study.
    """
    curves = {arm: _curve(results, arm) for arm in results.arms if any(trial.curve[0] for trial in results.trials(arm))}
    lines = results.references | ({"threshold": results.threshold} if results.threshold is not None else {})
    label = results.curve or f"moving average of {results.score}"
    plots = {"learning_curves": figures.learning_bands(curves, lines, label)} if curves else {}
    if profiles := _profiles(results):
        sign = "<=" if results.better == "lower" else ">="
        threshold = f"threshold of {results.score} at the end"
        fraction = f"fraction of runs {sign} threshold"
        plots["performance_profiles"] = figures.performance_profiles(profiles, threshold, fraction)
    return plots


def _curve(results: StudyResults, arm: str) -> figures.Band:
    """Median and quartiles over runs, up to the end of the shortest one; runs that diverged are excluded."""
    trials = [trial for trial in results.trials(arm) if trial.curve[0]]
    curves = [trial.curve for trial in trials if not trial.diverged] or [trial.curve for trial in trials]
    length = min(len(steps) for steps, _ in curves)
    values = np.array([values[:length] for _, values in curves])
    low, middle, high = np.quantile(values, [0.25, 0.5, 0.75], axis=0)
    return figures.Band(np.array(curves[0][0][:length]), middle, low, high)


def _profiles(results: StudyResults) -> dict[str, figures.Band]:
    """Performance profiles with pointwise 95 % bootstrap intervals; a run that diverged reaches no threshold.

    Arms in which the other direction is better are left out.
    """
    worst = np.inf if results.better == "lower" else -np.inf
    finals = {arm: np.array(results.final_scores(arm)) for arm in _comparable(results)}
    finite = np.array([value for values in finals.values() for value in values if not np.isnan(value)])
    if np.unique(finite).size < 2:  # a profile would be a single step
        return {}
    space = np.geomspace if finite.min() > 0 else np.linspace
    thresholds = np.unique([*space(finite.min(), finite.max(), POINTS), *finite])
    bands = {}
    for arm, values in finals.items():
        scores = np.where(np.isnan(values), worst, values)

        def profile(resampled: np.ndarray) -> np.ndarray:
            return performance_profile(resampled, thresholds, results.better)

        low, high = bootstrap([scores], profile, np.random.default_rng(SEED))
        bands[arm] = figures.Band(thresholds, profile(scores), low, high)
    return bands


def _comparable(results: StudyResults) -> list[str]:
    """The arms that have runs, and the direction of the study."""
    same = (arm for arm in results.arms if results.better_in.get(arm, results.better) == results.better)
    return [arm for arm in same if results.trials(arm)]
