"""Recorded episodes made of random numbers, for tests of data sets."""

import torch

from badger.datasets import EpisodeDataset, Episodes
from tasks import ActionSpace, Continuous, Discrete, Mixed, MultiDiscrete

SPACES: dict[str, ActionSpace] = {
    "discrete": Discrete(3),
    "multi_discrete": MultiDiscrete((2, 3)),
    "continuous": Continuous(2, -1.0, 1.0),
    "mixed": Mixed(MultiDiscrete((2, 3)), Continuous(2)),
}


def random_action(space: ActionSpace, *lead: int, rng: torch.Generator, dtype=torch.float32) -> torch.Tensor:
    if isinstance(space, Continuous):
        return torch.randn(*lead, space.size, generator=rng, dtype=dtype).clamp(space.low, space.high)
    if isinstance(space, Mixed):
        parts = [random_action(part, *lead, rng=rng, dtype=dtype) for part in (space.choices, space.numbers)]
        return torch.cat([part.to(dtype) for part in parts], -1)
    if isinstance(space, Discrete):
        return torch.randint(space.n, lead, generator=rng)
    return torch.stack([torch.randint(n, lead, generator=rng) for n in space.nvec], -1)


def make_episodes(
    lengths=(3, 1, 5), *, space: ActionSpace = SPACES["discrete"], agents: int | None = None, obs=(4,), seed: int = 0,
    dtype=torch.float32, info: bool = False, mask: bool = False,
) -> Episodes:  # fmt: skip
    """Episodes of random numbers; the last step of each is terminated, or truncated where the length is even."""
    rng, length, p = torch.Generator().manual_seed(seed), torch.tensor(lengths), () if agents is None else (agents,)
    n, t = len(length), int(length.max())
    inside = torch.arange(t) < length[:, None]
    end = torch.arange(t) == length[:, None] - 1

    def over_agents(values, more=0):
        return values.reshape(*values.shape, *(1,) * (len(p) + more)).expand(*values.shape, *p, *(1,) * more)

    options = getattr(space, "choices", space).size
    action = random_action(space, n, t, *p, rng=rng, dtype=dtype)
    observations = torch.randn(n, t + 1, *p, *obs, generator=rng, dtype=dtype)
    observed = torch.arange(t + 1) <= length[:, None]
    numbers = torch.randn(n, t, *p, generator=rng, dtype=dtype)
    return Episodes(
        torch.where(over_agents(observed, len(obs)), observations, 0),
        torch.where(over_agents(inside, action.dim() - 2 - len(p)), action, 0),
        torch.where(over_agents(inside), numbers, 0),
        over_agents(end & (length % 2 == 1)[:, None]).clone(),
        over_agents(end & (length % 2 == 0)[:, None]).clone(),
        length,
        over_agents(inside, 1).expand(n, t, *p, options).clone() if mask else None,
        {"score": torch.where(over_agents(inside), numbers, 0)} if info else {},
    )


def make_data(*arguments, space: ActionSpace = SPACES["discrete"], task: str = "toy", **options) -> EpisodeDataset:
    return EpisodeDataset.from_episodes(make_episodes(*arguments, space=space, **options), space, task)


def same_episodes(a: Episodes, b: Episodes) -> bool:
    """Whether all fields have the same types and bits."""

    def same(x, y):
        return x is y is None or (x.dtype == y.dtype and torch.equal(x, y))

    fields = [name for name in Episodes._fields if name != "info"]
    return (
        all(same(getattr(a, name), getattr(b, name)) for name in fields)
        and a.info.keys() == b.info.keys()
        and all(same(a.info[name], b.info[name]) for name in a.info)
    )
