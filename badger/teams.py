"""Who plays for whom in a world of several agents: expert e for agent e mod P, so that every agent has a team.

Shapes: B episode, E expert, P agent of the world.
"""


def team_size(experts: int, agents: int) -> int:
    """How many experts play for each agent. Raises ValueError where teams would not be of one size."""
    if experts < 1 or experts % agents:
        raise ValueError(
            f"experts={experts}, want a multiple of {agents}: the world has {agents} agents, and behind each of them "
            f"are as many experts; {agents} for one each, {2 * agents} for two each"
        )
    return experts // agents
