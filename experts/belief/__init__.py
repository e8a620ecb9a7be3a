"""Beliefs: cores whose state is what is known of a world that is partly observed.

- `experts.belief.exact`: the exact filter of a known model, alone (`BeliefFilter`) or with a network (`ExactBelief`).
- `experts.belief.kalman`: the Kalman filter, the same for a linear Gaussian model (`KalmanFilter`, `KalmanBelief`).
- `experts.belief.model`: what such models must have. `experts.belief.events`: actions and observations in an input,
  `ImpossibleObservation`.
- `experts.belief.particle`: `ParticleFilter`, weighted particles that a learned `ParticleModel` moves. Models:
  `experts.belief.pfgru`, with learned weights (DPFRL), and that of DVRL below. `experts.belief.resampling`: how
  particles are resampled.
- `experts.belief.variational`: beliefs with a learned model of observations, whose bound is a loss: `DVBF`, one latent
  state that moves by locally linear transitions, the particles of DVRL, and `MERLIN`, whose memory a predictor forms.
- `experts.belief.psr`: predictive state representations, whose state is predictions: `PSRFilter`, and `PSR` with a
  network. `experts.belief.psr_model`: `PSRModel`, and `exact_psr` of a known model. `experts.belief.spectral`:
  `fit_psr` from recorded steps.
- `experts.belief.rpsp`: `RPSP`, a filter of features by the kernel Bayes rule, and a network that reads it.
  `experts.belief.two_stage`: the rule, and the regression to which it is fitted. `experts.belief.random_features`.

```python
import torch
from experts.belief import EXAMPLE, BeliefFilter

core = BeliefFilter(3, model=EXAMPLE)  # 2 observations and 1 action, one-hot
x = torch.zeros(1, 1, 3)  # before the first action: no observation, and no last action
belief, state = core(x, core.initial_state(x))
x[..., [1, 2]] = 1  # observation 1, after the action
belief, state = core(x, state)
assert belief.shape == (1, 1, 2) and belief[0, 0, 1] > 0.8
```
"""

from experts.belief.events import ImpossibleObservation
from experts.belief.exact import BeliefFilter, BeliefState, ExactBelief
from experts.belief.kalman import KalmanBelief, KalmanFilter, KalmanState
from experts.belief.model import EXAMPLE, LINEAR_EXAMPLE, BeliefModel, LinearGaussianModel
from experts.belief.particle import ParticleFilter, ParticleModel, ParticleState
from experts.belief.pfgru import PFGRUModel, dpfrl
from experts.belief.psr import PSR, PSRFilter, PSRState
from experts.belief.psr_model import PSRModel, exact_psr
from experts.belief.resampling import soft_resample, systematic_indices
from experts.belief.rpsp import RPSP, RPSPState
from experts.belief.spectral import fit_psr
from experts.belief.two_stage import kernel_bayes_rule, ridge_regression, two_stage_regression
from experts.belief.variational.dvbf import DVBF, DVBFState
from experts.belief.variational.dvrl import VariationalModel, dvrl
from experts.belief.variational.merlin import MERLIN, MERLINState

__all__ = [
    "DVBF",
    "EXAMPLE",
    "LINEAR_EXAMPLE",
    "MERLIN",
    "PSR",
    "RPSP",
    "BeliefFilter",
    "BeliefModel",
    "BeliefState",
    "DVBFState",
    "ExactBelief",
    "ImpossibleObservation",
    "KalmanBelief",
    "KalmanFilter",
    "KalmanState",
    "LinearGaussianModel",
    "MERLINState",
    "PFGRUModel",
    "PSRFilter",
    "PSRModel",
    "PSRState",
    "ParticleFilter",
    "ParticleModel",
    "ParticleState",
    "RPSPState",
    "VariationalModel",
    "dpfrl",
    "dvrl",
    "exact_psr",
    "fit_psr",
    "kernel_bayes_rule",
    "ridge_regression",
    "soft_resample",
    "systematic_indices",
    "two_stage_regression",
]
