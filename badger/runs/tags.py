"""TensorBoard tags of metrics: the names of Stable-Baselines3 and CleanRL's habits where there is one, else our own.

| metric | tag |
|---|---|
| `return`, `episodic_length` of training episodes | `rollout/ep_rew_mean`, `rollout/ep_len_mean` |
| `loss` and its terms, `approx_kl`, `explained_variance`, `lr`, `hit_rate` ... | `train/...` |
| `env_steps`, environment steps a second | `time/total_timesteps`, `time/fps` |
| evaluations while training | `eval/mean_reward`, `eval/mean_ep_length`, `eval/SCORE` |
| `gradient_norm`, `parameter_norm` | `norm/gradient`, `norm/parameter` |
| `normalizer/NAME`, statistics of a running normalization | as they are |
| a score of the task, or another metric, and its moving average | `SCORE/train`, `SCORE/ema` |

Of a member of a population, `/seed_3` follows. SB3 logs the negative entropy as `train/entropy_loss`; here it is
`train/entropy`.
"""

from collections.abc import Iterable

TAGS = {
    "return": "rollout/ep_rew_mean",
    "episodic_length": "rollout/ep_len_mean",
    "epsilon": "rollout/exploration_rate",
    "loss": "train/loss",
    "policy_loss": "train/policy_gradient_loss",
    "value_loss": "train/value_loss",
    "entropy": "train/entropy",
    "approx_kl": "train/approx_kl",
    "clip_fraction": "train/clip_fraction",
    "explained_variance": "train/explained_variance",
    "lr": "train/learning_rate",
    "hit_rate": "train/hit_rate",
    "store_rows": "train/store_rows",
    "env_steps": "time/total_timesteps",
    "gradient_norm": "norm/gradient",
    "parameter_norm": "norm/parameter",
    "eval/return": "eval/mean_reward",
    "eval/episodic_length": "eval/mean_ep_length",
}
"""Tags by the name of a metric."""
FPS = "time/fps"
EPISODE_LENGTH = TAGS["episodic_length"]
GROUPS = ("eval", "normalizer")
"""First words of metrics whose name is their tag."""
UNAVERAGED = ("lr", "env_steps", "store_rows")
"""Metrics of which the last value counts, as moving averages do: no quantity of a single step."""


def metric_tag(name: str) -> str:
    """The tag of a metric: error -> error/train, error/seed_3_ema -> error/ema/seed_3, lr -> train/learning_rate.

    Args:
        name: of the metric.
    """
    words = name.removesuffix("_ema").split("/")
    size = 2 if words[0] in GROUPS else 1
    metric, member = "/".join(words[:size]), words[size:]
    if name.endswith("_ema"):
        tag = f"{metric}/ema"
    else:
        tag = TAGS.get(metric, metric if words[0] in GROUPS else f"{metric}/train")
    return "/".join([tag, *member])


def is_averaged(name: str) -> bool:
    """Whether TensorBoard gets the mean of a metric over some outer steps, not its last value.

    Args:
        name: of the metric.
    """
    return not name.endswith("_ema") and name.split("/")[0] not in UNAVERAGED


def score_chart(score: str, references: Iterable[str], *, evaluated: bool) -> list[str]:
    """The tags of a chart with a score in training, in evaluations and of references; each matches what it begins.

    Args:
        score: name of the score.
        references: their names.
        evaluated: whether the run is evaluated while it trains.
    """
    lines = [reference_tag(score, line) for line in references]
    return [f"{metric_tag(score)}$", f"{score}/ema", *[metric_tag(f"eval/{score}")] * evaluated, *lines]


def reference_tag(score: str, line: str) -> str:
    """The tag of a reference line.

    Args:
        score: name of the score.
        line: name of the reference.
    """
    return f"{score}/reference/{line.replace(' ', '_')}"


def evaluation_tag(score: str) -> str:
    """The tag of a score on the episodes of a study's evaluation.

    Args:
        score: name of the score.
    """
    return f"{score}/evaluated"
