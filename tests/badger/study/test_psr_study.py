"""The study of fitted predictive state representations."""

from badger.study.simulations import SIMULATIONS


def test_a_fitted_psr_predicts_better_the_more_steps_it_has():
    curves = SIMULATIONS["psr"].simulate(seed=0, model="1d", length=2, steps=[400, 40_000], held_out=20)
    assert curves.y["psr"][1] < 0.02 and curves.y["psr"][1] < 0.5 * curves.y["psr"][0]
    assert curves.y["psr"][1] < curves.y["last steps"][1]  # which forget what was before
