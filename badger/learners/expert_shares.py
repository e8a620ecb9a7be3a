"""Division of a run over its processes: each has episodes of its own, or experts of its own in all episodes."""

from badger import distributed
from badger.agent import Agent
from badger.sharding import check_shardable, shard_experts
from tasks import Task


class ExpertShares:
    """The part of the work that this process does in each outer step.

    Args:
        agent: with all experts.
        task: what is learned.
        fewest: smallest number of experts of an episode.
        spread: the experts of each episode are spread over the processes (`badger.sharding`), not the episodes.

    Raises:
        ValueError: experts that cannot be spread over the processes.
    """

    def __init__(self, agent: Agent, task: Task, fewest: int, *, spread: bool):
        self._agent, self.spread, self._views = agent, spread, dict[int, Agent]()  # by number of experts
        if spread:
            _check_episodes(task)
            check_shardable(agent, fewest)

    @property
    def rank(self) -> int:
        """The number by which this process draws its episodes, the same where all processes have the same episodes."""
        return 0 if self.spread else distributed.rank()

    @property
    def copies(self) -> int:
        """Number of processes that have the same episodes."""
        return distributed.world_size() if self.spread else 1

    def local_batch_size(self, episodes: int) -> int:
        """The number of this process's episodes in each outer step.

        Args:
            episodes: of all processes.

        Raises:
            ValueError: they do not divide over the processes.
        """
        return episodes if self.spread else distributed.local_batch_size(episodes)

    def agent(self, experts: int) -> Agent:
        """The agent that acts in this process: with all experts, or with its share of them.

        Args:
            experts: E, of all processes.
        """
        if not self.spread:
            return self._agent
        if experts not in self._views:
            self._views[experts] = shard_experts(self._agent, experts)
        return self._views[experts]

    def forget(self) -> None:
        """Cuts the topology anew, as a loaded agent may have other edges."""
        self._views.clear()


def _check_episodes(task: Task) -> None:
    """Raises ValueError for episodes that processes cannot have in common."""
    name = type(task).__name__
    if task.agents is not None:
        raise ValueError(
            f"shard_experts=True: {name} has {task.agents} agents, and the experts of absent ones are masked; want a "
            "task with one agent"
        )
    if task.external:
        raise ValueError(
            f"shard_experts=True: {name} is an external environment, of which each process would have its own; want a "
            "task of this library"
        )
