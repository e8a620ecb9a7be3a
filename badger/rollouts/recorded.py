"""Rollouts with gradient that keep records of the core's steps instead of a graph.

The rollout runs without a graph. Sense and output head are then computed for all steps at once, and the core goes
backward through all steps in one function (`Core.unroll_recorded`).

Shapes: T step, B episode, P agent of the environment.
"""

import torch

from badger.agent import Agent
from badger.policies.policies import Policy, identity_policy
from badger.rollouts.checkpointing import checkpointed_rollout
from badger.rollouts.loop import rollout
from badger.rollouts.recording import core_inputs, core_start, make_recording, replayed_parts, steps_are_of_core
from badger.rollouts.trajectory import Carry, Trajectory
from experts.recorded import keeps_records
from tasks import Task


def differentiable_rollout(
    agent: Agent,
    task: Task,
    carry: Carry,
    rng: torch.Generator,
    policy: Policy = identity_policy,
    *,
    steps: int,
    grad_checkpoint_steps: int | None = None,
) -> tuple[Trajectory, Carry]:
    """A rollout whose outputs and auxiliary losses have their gradient; rewards and actions need none.

    By records where the core keeps them, experts neither communicate nor are absent, the agent's step is a plain
    one, and the state at the start has no graph; nothing is then left to be checkpointed. Else by the graph of all
    steps.

    Args:
        agent: as in `rollout`.
        task: as in `rollout`.
        carry: as in `rollout`.
        rng: as in `rollout`.
        policy: as in `rollout`; its actions must not depend on a gradient.
        steps: T.
        grad_checkpoint_steps: as in `checkpointed_rollout`; None: the graph of all steps is stored.
    """
    state = carry.agent_state
    all_present = carry.step.present is None and task.agents is None
    if not (all_present and steps_are_of_core(agent, state) and keeps_records(agent.core, state.core)):
        stored = grad_checkpoint_steps or steps
        return checkpointed_rollout(agent, task, carry, rng, policy, steps=steps, grad_checkpoint_steps=stored)
    core = agent.core
    with torch.no_grad():
        trajectory, next_carry = rollout(
            agent,
            task,
            carry,
            rng,
            policy,
            steps=steps,
            hook=lambda state: (replayed_parts(state), core.step_record(state.core)),
        )
        parts, records = zip(*trajectory.hook_outputs, strict=True)
        recording = make_recording(state, trajectory, parts)
        stacked = tuple(torch.stack(record) for record in zip(*records, strict=True))
    xs = core_inputs(agent, recording)
    initial, reset = core_start(agent, recording, xs)
    ys, losses = core.unroll_recorded(xs, stacked, initial, reset)
    assignment = recording.assignment
    output = agent.act(ys.flatten(0, 1), None if assignment is None else assignment.flatten(0, 1), None)
    output = output.unflatten(0, xs.shape[:2])
    return trajectory._replace(output=output, losses=losses, hook_outputs=[]), next_carry
