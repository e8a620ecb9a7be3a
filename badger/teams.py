"""Teams of experts in environments of several agents: expert e belongs to agent e mod P.

Shapes: B episode, E expert, P agent of the environment.
"""


def team_size(experts: int, agents: int) -> int:
    """The number of experts for each agent of an environment.

    Args:
        experts: E.
        agents: P.

    Raises:
        ValueError: the experts do not divide evenly over the agents.
    """
    if experts < 1 or experts % agents:
        raise ValueError(
            f"experts={experts}, want a multiple of {agents}, the number of agents of the environment, so that all "
            f"have equally many experts: {agents} for one each, {2 * agents} for two each"
        )
    return experts // agents
