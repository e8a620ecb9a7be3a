"""What recipes have in common: a talking agent for a task, trained by gradient. Said once, and part of every recipe."""

import dataclasses
import inspect
from collections.abc import Callable
from typing import Any

import torch

from badger import act, sense
from badger.act import Act
from badger.agent import Agent
from badger.learners import A2C, BPTT, PPO
from badger.learners.population import Population
from badger.learners.schedules import Cooldown, LearningRate, WarmupCosine
from badger.rng import drawing_from, generator
from badger.rollouts.precision import Precision
from badger.runs.run import Run
from badger.teams import team_size
from comms import BUSES, get_by_name
from experts import Core
from tasks import Continuous, IntOrRange, Task, TaskDistribution, nominal, size_range

DEFAULT_IDENTITY_SIZE = 8  # of an identity, where nothing else tells experts apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """An agent, how it learns, and on what machine.

    Args:
        experts: how many, free after training; two numbers: a range, drawn anew for each outer step. In a world of
            several agents a multiple of them: as many play for each; 0: one.
        message_size: numbers in an inbox.
        identity_size: random numbers that tell experts apart, drawn for each episode; 8 if not given, or 0 where the
            acting port names them.
        topology: who hears whom: complete, ring, ring_lattice, grid, star, small_world, random_regular, none.
        bus: how they hear; `badger list` names all.
        act: how they answer together: mean, each, owners, named, readout; not in a world of several agents, where
            each acts by its own team.
        batch: episodes in an outer step.
        lr: peak of the learning rate.
        schedule: cosine: 5 % of the outer steps lead up to lr, and a half cosine down to 0; constant: lr throughout;
            cooldown: lr, and in the last 30 % of the outer steps a straight line down to 0.
        outer_steps: updates of the shared policy.
        seed: of everything random.
        seeds: agents that are trained together, each as if alone, with seeds from `seed` on.
        device: cpu, cuda, or auto: cuda where there is one.
        grad_checkpoint_steps: for long episodes: steps whose graph is kept at a time; the others are played twice.
        precision: float32, or bf16 for matrix products in bfloat16.
        compile: the agent's step by torch.compile.
        cuda_graph: capture an outer step once and replay it; on a GPU.
    """

    experts: IntOrRange = 4
    message_size: int = 16
    identity_size: int | None = None
    topology: str = "complete"
    bus: str = "attention"
    act: str = "named"
    batch: int = 64
    lr: float = 2e-3
    schedule: str = "cosine"
    outer_steps: int = 1500
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    grad_checkpoint_steps: int | None = None
    precision: Precision = "float32"
    compile: bool = False
    cuda_graph: bool = False

    def with_default_experts(self, task: Task) -> "Setup":
        """With an expert for each agent of the world, where no number of them is given."""
        return self if self.experts or task.agents is None else dataclasses.replace(self, experts=task.agents)

    def make_run(
        self,
        tasks: Task | TaskDistribution,
        core: Callable[[int], Core],
        *,
        make_sense: Callable[[int], sense.Sense] | None = None,
        learner: Callable[..., Any] = BPTT,
        **learner_options: Any,
    ) -> Run:
        """A run of this agent on the task, or on a distribution of tasks; a population where there are several seeds.

        Args:
            core: what an expert is, a factory of the size of its input. make_sense: how it senses; None: what there is to
                be seen, or in a world of several agents what the one sees that it plays for.
            learner: `BPTT`, or `A2C` or `PPO`, whose agent gets a critic. learner_options: more options of the learner.

        Raises:
            ValueError: a name that is not there, a flag that the learner does not know, or sizes that do not fit.
        """
        if self.seeds < 1:
            raise ValueError(f"seeds={self.seeds}, want at least 1")
        where, options = resolve_device(self.device), {**self._options(learner), **learner_options}
        critic = learner in (A2C, PPO)
        members = []
        for seed in range(self.seed, self.seed + self.seeds):
            with drawing_from(generator(seed, "init")):
                agent = self._agent(nominal(tasks), core, make_sense, critic=critic).to(where)
            members.append(learner(agent, tasks, seed=seed, **options))
        return Run(members[0] if self.seeds == 1 else Population(members), outer_steps=self.outer_steps)

    def _options(self, learner: Callable[..., Any]) -> dict[str, Any]:
        """Of the learner, as these flags say; what it does not know is left out if nobody asked for it."""
        known = inspect.signature(learner).parameters
        options: dict[str, Any] = {"lr": self._schedule()}
        for name in ("experts", "batch", "grad_checkpoint_steps", "precision", "compile", "cuda_graph"):
            value = getattr(self, name)
            if name in known:
                options[name] = value
            elif value != getattr(Setup, name):
                raise ValueError(f"{name}={value}: {learner.__name__} has no {name}; leave it out")
        return options

    def _agent(
        self, task: Task, core: Callable[[int], Core], senses: Callable[[int], sense.Sense] | None, *, critic: bool
    ) -> Agent:
        messages = self.message_size if self.bus != "silent" else 0
        port = self._act_class(task)
        identity = self.identity_size
        if identity is None:
            identity = 0 if port.name_size else DEFAULT_IDENTITY_SIZE
        sensing = (senses or (sense.Broadcast if task.agents is None else sense.Team))(task.obs_size)
        made = core(sensing.output_size + messages + identity + port.name_size)
        bus = get_by_name(BUSES, self.bus, "bus")(made.output_size, messages)
        several = () if task.agents is None else (task.agents,)
        acting = port(made.output_size, task.action_space.size, *several)
        if critic and isinstance(task.action_space, Continuous):
            acting = act.Gaussian(acting)
        critic_head = act.Team(made.output_size, 1, *several) if critic and several else None
        return Agent(
            sense=sensing,
            core=made,
            bus=bus,
            act=act.WithCritic(acting, critic_head) if critic else acting,
            topology=self.topology,
            experts=size_range(experts=self.experts)[1],
            identity_size=identity,
        )

    def _act_class(self, task: Task) -> type[Act]:
        """How experts act; in a world of several agents by teams, whose sizes must fit."""
        if task.agents is None:
            return get_by_name(act.ACTS, self.act, "act")
        if self.act != Setup.act:
            raise ValueError(
                f"act={self.act}: each of the {task.agents} agents of this world acts by its own team; leave it out"
            )
        low, high = size_range(experts=self.experts)
        if low < high:
            raise ValueError(f"experts={self.experts}, want one number that is a multiple of {task.agents}, the agents")
        team_size(high, task.agents)
        return act.Team

    def _schedule(self) -> LearningRate:
        kinds: dict[str, LearningRate] = {
            "cosine": WarmupCosine(self.lr, total=self.outer_steps, warmup=self.outer_steps // 20),
            "constant": WarmupCosine(self.lr),
            "cooldown": Cooldown(self.lr, self.outer_steps),
        }
        return get_by_name(kinds, self.schedule, "schedule")


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda where there is one. Raises ValueError for cuda where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}, but torch {torch.__version__} sees no CUDA device here; use cpu or auto")
    return device
