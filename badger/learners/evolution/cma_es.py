"""CMA-ES: evolution of a mean, a step size and a covariance matrix, for some hundred numbers.

Shapes: P members, n numbers of a member.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

MOST_MEMBERS = 10_000
SMALLEST_VARIANCE = 1e-20  # an eigenvalue of the covariance matrix, which rounding may make negative
LARGEST_STD = 1e15  # of a number of a member: where more is always better, the distribution grows up to here


class CMAConstants(NamedTuple):
    """The constants of an update, functions of n and P.

    Args:
        weights: of the members, best first; those of the worse half are negative.
        mu_eff: variance-effective number of the better half.
        c_sigma, d_sigma: decay and damping of the step size's path.
        c_c: decay of the covariance matrix's path.
        c_1, c_mu: learning rates of the covariance matrix, of the path and of the members.
    """

    weights: tuple[float, ...]
    mu_eff: float
    c_sigma: float
    d_sigma: float
    c_c: float
    c_1: float
    c_mu: float


def cma_constants(size: int, population: int) -> CMAConstants:
    """The default constants (Hansen 2016, table 1).

    Args:
        size: n.
        population: P.
    """
    n = size
    raw = [math.log((population + 1) / 2) - math.log(i) for i in range(1, population + 1)]
    better, worse = [w for w in raw if w > 0], [w for w in raw if w <= 0]
    mu_eff, mu_eff_worse = (sum(part) ** 2 / max(sum(w * w for w in part), 1e-300) for part in (better, worse))
    c_sigma = (mu_eff + 2) / (n + mu_eff + 5)
    c_1 = 2 / ((n + 1.3) ** 2 + mu_eff)
    c_mu = min(1 - c_1, 2 * (0.25 + mu_eff + 1 / mu_eff - 2) / ((n + 2) ** 2 + mu_eff))
    negative = min(1 + c_1 / c_mu, 1 + 2 * mu_eff_worse / (mu_eff + 2), (1 - c_1 - c_mu) / (n * c_mu))
    scales = 1 / sum(better), negative / max(-sum(worse), 1e-300)
    return CMAConstants(
        weights=tuple(w * scales[w <= 0] for w in raw),
        mu_eff=mu_eff,
        c_sigma=c_sigma,
        d_sigma=1 + 2 * max(0.0, math.sqrt((mu_eff - 1) / (n + 1)) - 1) + c_sigma,
        c_c=(4 + mu_eff / n) / (n + 4 + 2 * mu_eff / n),
        c_1=c_1,
        c_mu=c_mu,
    )


class CMAES:
    """Covariance matrix adaptation evolution strategy (CMA-ES): minimizes a cost of which only ranks are used.

    Members are drawn from N(mean, sigma^2 C). The mean moves to the better half of them, C towards the directions in
    which it moved and along which the better half lies, and away from those of the worse half, and sigma grows where
    successive moves agree. The covariance matrix costs n^2 memory and n^3 time a generation, so that it suits some
    hundred numbers.

    Its state are five tensors in float64. It is written here, and not taken from the library `cma`, as that keeps its
    state in objects that only pickle can save, which a run folder must not hold (`badger.trust`), and draws from
    NumPy's global generator; tests compare the two.

    Args:
        mean: of the first members.
        sigma: standard deviation of the first members.
        population: P.

    Raises:
        ValueError: fewer than 4 members, or more than 10,000, a sigma that is not above 0 and finite, or an empty mean.

    Source: Hansen 2016 (arXiv:1604.00772), The CMA evolution strategy: a tutorial, figure 6 and table 1.
    """

    def __init__(self, mean: Float[Tensor, " n"], sigma: float, population: int):
        if not 4 <= population <= MOST_MEMBERS:
            raise ValueError(f"population={population}, want at least 4 members, and at most {MOST_MEMBERS:,}")
        if not 0 < sigma < math.inf:
            raise ValueError(f"sigma={sigma}, want a finite number above 0")
        if not len(mean):
            raise ValueError("a mean of 0 numbers, want at least 1")
        self.population, self.constants = population, cma_constants(len(mean), population)
        self.mean = mean.detach().double().clone()
        self.sigma = self.mean.new_full((), sigma)
        self.covariance = torch.eye(len(mean), dtype=torch.float64, device=mean.device)
        self.sigma_path, self.covariance_path = torch.zeros_like(self.mean), torch.zeros_like(self.mean)
        self.generation = 0

    def ask(self, rng: torch.Generator) -> Float[Tensor, "P n"]:
        """The members of a generation.

        Args:
            rng: the generator, on the device of the mean.
        """
        shape = self.population, len(self.mean)
        noise = torch.randn(shape, generator=rng, dtype=torch.float64, device=self.mean.device)
        basis, std = self._axes()
        return self.mean + self.sigma * (noise * std) @ basis.mT

    def tell(self, members: Float[Tensor, "P n"], cost: Float[Tensor, " P"]) -> None:
        """Updates mean, step size and covariance matrix by the costs of a generation; NaN is the highest.

        Args:
            members: of `ask`.
            cost: of each.
        """
        constants, n = self.constants, len(self.mean)
        order = cost.nan_to_num(torch.inf, torch.inf, -torch.inf).argsort(stable=True)
        steps = (members[order] - self.mean) / self.sigma
        weights = torch.tensor(constants.weights, dtype=torch.float64, device=self.mean.device)
        move = weights.clamp(min=0) @ steps
        basis, std = self._axes()

        def whiten(y: Tensor) -> Tensor:
            return (y @ basis / std) @ basis.mT

        self.generation += 1
        self.mean = self.mean + self.sigma * move
        self.sigma_path = _moved(self.sigma_path, whiten(move), constants.c_sigma, constants.mu_eff)
        length, expected = (
            self.sigma_path.norm(),
            math.sqrt(2) * math.exp(math.lgamma((n + 1) / 2) - math.lgamma(n / 2)),
        )
        settled = length / math.sqrt(1 - (1 - constants.c_sigma) ** (2 * self.generation))
        slow = (settled < (1.4 + 2 / (n + 1)) * expected).double()  # else the path is not to be prolonged
        self.covariance_path = _moved(self.covariance_path, slow * move, constants.c_c, constants.mu_eff)
        scale = n / whiten(steps).square().sum(-1)  # of the worse half, so that C stays positive definite
        scaled = torch.where(weights < 0, weights * scale, weights)
        lost = (1 - slow) * constants.c_c * (2 - constants.c_c)
        decay = 1 + constants.c_1 * lost - constants.c_1 - constants.c_mu * sum(constants.weights)
        covariance = (
            decay * self.covariance
            + constants.c_1 * torch.outer(self.covariance_path, self.covariance_path)
            + constants.c_mu * (steps.mT * scaled) @ steps
        )
        sigma = self.sigma * torch.exp(constants.c_sigma / constants.d_sigma * (length / expected - 1))
        small = sigma * covariance.diagonal().max().sqrt() < LARGEST_STD
        self.covariance = torch.where(small, covariance, self.covariance)
        self.sigma = torch.where(small, sigma, self.sigma)

    def _axes(self) -> tuple[Float[Tensor, "n n"], Float[Tensor, " n"]]:
        """Principal axes of the covariance matrix, in columns, and the standard deviations along them."""
        variances, basis = torch.linalg.eigh((self.covariance + self.covariance.mT) / 2)
        return basis, variances.clamp(min=SMALLEST_VARIANCE).sqrt()

    def state_dict(self) -> dict[str, Tensor | int]:
        """Mean, step size, covariance matrix, paths and the number of generations."""
        names = ("mean", "sigma", "covariance", "sigma_path", "covariance_path")
        return {name: getattr(self, name) for name in names} | {"generation": self.generation}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restores them.

        Args:
            state: from `state_dict`.

        Raises:
            ValueError: another entry, a missing one, or a tensor of another shape or type; nothing is loaded.
        """
        own = self.state_dict()
        if wrong := sorted(state.keys() ^ own.keys()):
            raise ValueError(f"a saved state with other entries ({', '.join(wrong)}), want {', '.join(own)}")
        for name, value in own.items():
            if (got := _kind(state[name])) != (want := _kind(value)):
                raise ValueError(f"a saved {name} that is {got}, want {want}")
        for name, value in state.items():
            setattr(self, name, value.to(self.mean.device) if isinstance(value, Tensor) else value)


def _kind(value: object) -> str:
    """What a value is, but for its numbers."""
    if isinstance(value, Tensor):
        return f"a tensor of {list(value.shape)} {value.dtype}"
    return type(value).__name__


def _moved(path: Tensor, move: Tensor, decay: float, mu_eff: float) -> Tensor:
    """An evolution path after a move."""
    return (1 - decay) * path + math.sqrt(decay * (2 - decay) * mu_eff) * move
