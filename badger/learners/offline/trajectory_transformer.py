"""The learner of a Trajectory Transformer: each number of recorded steps is predicted from those before."""

import torch
from jaxtyping import Float
from torch import Tensor

from badger.act import Mean
from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import host
from badger.learners.offline.base import Offline
from badger.learners.offline.goals import GoalSampler
from badger.learners.offline.replayed import observations
from badger.learners.offline.returns_to_go import ReturnsToGo
from badger.learners.offline.windows import Windows, WindowSampler
from badger.learners.schedules import LearningRate
from badger.policies.gaussian import center_and_half_range
from badger.rng import generator
from experts import StepLayout, TrajectoryTransformer
from experts.trajectory.loss import sequence_loss
from tasks import Continuous, Mixed, Task

FITTED_STEPS = 100_000  # from which bins are computed


class TrajectoryTransformerLearner(Offline):
    """Maximum likelihood of recorded steps, by a core that plans with what it learned (Trajectory Transformer).

    The bins of the core are fitted to the data at once. An outer step draws windows that begin anywhere in an episode;
    their tokens are predicted in one pass, with the weight 5 for those of actions. For the objective "goal" a window
    ends at a later state of its episode, which the core reads first (`badger.learners.offline.goals`). The agent's
    output head is set to pass the planned action on, and is not trained.

    Metrics: those of `Offline`.

    Args:
        agent: one expert with the core `TrajectoryTransformer` and the output head `act.Mean`.
        task, data: as in `Offline`.
        goal_steps: the most steps from the start of a window to its goal, for the objective "goal".
        goal_bins: draw goals in so many ranges of distances from the start equally often; 0: all equally often.
        experts, batch, lr, eval_policy, clip, betas, eps, weight_decay, seed, rank: as in `Offline`.

    Raises:
        ValueError: as `Offline` does; another core or head; `goal_steps` below 1, `goal_bins` below 0.

    Source: Janner, Li and Levine 2021 (arXiv:2106.02039).
    """

    takes_agents = False
    needs_previous = True

    def __init__(
        self,
        agent: Agent,
        task: Task,
        *,
        data: EpisodeDataset,
        goal_steps: int = 20,
        goal_bins: int = 8,
        experts: int | None = None,
        batch: int = 64,
        lr: LearningRate = 1e-3,
        auxiliary: dict[str, float] | None = None,
        eval_policy: str = "greedy",
        clip: float | None = 1.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        seed: int = 0,
        rank: int | None = None,
    ):
        core = agent.core
        if not isinstance(core, TrajectoryTransformer):
            raise ValueError(
                f"the agent's core is a {type(core).__name__}, which does not plan: want core trajectory_transformer "
                "(--core trajectory_transformer)"
            )
        if goal_steps < 1:
            raise ValueError(f"goal_steps={goal_steps}, want at least 1")
        if goal_bins < 0:
            raise ValueError(f"goal_bins={goal_bins}, want at least 0")
        pass_action_on(agent, task, core.layout)
        super().__init__(
            agent, task, data=data, sequence_length=core.window, experts=experts, batch=batch, lr=lr,
            auxiliary=auxiliary, eval_policy=eval_policy, clip=clip, betas=betas, eps=eps, weight_decay=weight_decay,
            seed=seed, rank=rank,
        )  # fmt: skip
        self.core = core
        self.values_to_go: ReturnsToGo = host.on_host(ReturnsToGo, data, core.gamma)
        edges, centers = host.on_host(self._fitted_bins, core)
        core.discretizer.set(edges, centers)
        if core.layout.goals:
            reached = [reached for _, reached in core.layout.goals]
            starts = WindowSampler(data, None, core.window)
            self.sampler = GoalSampler(starts, reached, edges[core.layout.goal_dims], steps=goal_steps, bins=goal_bins)

    def _fitted_bins(self, core: TrajectoryTransformer) -> tuple[Tensor, Tensor]:
        sampler = WindowSampler(self.data, None, core.window)
        windows = sampler.draw(-(-FITTED_STEPS // core.window), generator(self.seed, "bins"))
        return core.discretizer.fitted(self._steps(windows, self._values(windows))[windows.episodes.valid])

    def _values(self, windows: Windows) -> Float[Tensor, "B T"]:
        """The values to go of the steps of some windows, on the host: each begins with the next step's reward."""
        return self.values_to_go.window(windows.rows, windows.start + 1, windows.episodes.reward.shape[1])

    def _steps(self, windows: Windows, values: Float[Tensor, "B T"]) -> Float[Tensor, "B T S"]:
        """The steps of some windows as numbers, where the windows are."""
        layout, episodes = self.core.layout, windows.episodes
        obs = observations(self.task, episodes)[:, :-1, : layout.obs]
        return layout.read_step(obs, episodes.action, episodes.reward, episodes.terminated, values.to(obs))

    def _loss(self, windows: Windows, rng: torch.Generator) -> tuple[Float[Tensor, ""], dict[str, Tensor]]:
        device, valid = self.updater.device, windows.episodes.valid
        steps = self._steps(windows, host.on_host(self._values, windows).to(device))
        goal = steps.new_zeros(len(steps), 0)
        if windows.goal is not None and windows.until is not None:
            goal = windows.goal.to(steps)
            valid = valid & (torch.arange(valid.shape[1], device=device) < windows.until.to(device).unsqueeze(-1))
        return sequence_loss(self.core, steps, goal, valid), {}


@torch.no_grad()
def pass_action_on(agent: Agent, task: Task, layout: StepLayout) -> None:
    """Sets the output head so that its output is the action that the core plans; it is not trained.

    A choice that is planned has the highest logit; where it is not allowed, the most probable one that is. Real numbers
    are in the unit of the outputs of other agents (`badger.policies.gaussian`).

    Args:
        agent: with the core `TrajectoryTransformer`.
        task: in which it acts.
        layout: of the core.

    Raises:
        ValueError: a head other than `act.Mean`.
    """
    head = agent.act
    if not isinstance(head, Mean):
        raise ValueError(f"the agent's output head is a {type(head).__name__}, want act mean (--act mean)")
    space, choices = task.action_space, sum(layout.choices)
    head.linear.requires_grad_(False)
    head.linear.weight.zero_()
    head.linear.bias.zero_()
    head.linear.weight.fill_diagonal_(1)
    if layout.choices:
        first = torch.arange(layout.choices[0], device=head.linear.weight.device)
        head.linear.weight[first, layout.action_inputs + first] = 1
    if isinstance(space, Continuous | Mixed):
        center, half_range = center_and_half_range(space.numbers if isinstance(space, Mixed) else space)
        head.linear.weight[choices:] /= half_range
        head.linear.bias[choices:] = -center / half_range
