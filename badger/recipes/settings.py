"""Flags that all recipes share: an agent of named parts, how it is trained, and on what device."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any, Literal

import torch

from badger import act, distributed
from badger.act import Act
from badger.agent import Agent
from badger.datasets import EpisodeDataset
from badger.learners import check_task, requirement
from badger.learners.offline.step_layout import step_layout
from badger.learners.population import Population
from badger.learners.requirements import check_data_given, check_outer_steps, samples_actions, with_previous
from badger.learners.schedules import Cooldown, LearningRate, WarmupCosine
from badger.normalized_sense import Normalized
from badger.recipes.initial_weights import orthogonal_
from badger.recipes.memory import check_training_fits
from badger.recipes.parts import ACT, BUS, CORE, LEARNER, SENSE, TOPOLOGY, TRAINING_FLAGS, Part
from badger.rng import drawing_from, generator
from badger.rollouts.precision import Precision
from badger.rollouts.random_steps import record_core_inputs
from badger.runs.run import Run
from badger.sense import Broadcast, Sense
from badger.teams import team_size
from comms import Bus, get_by_name
from experts import Core, default_loss_weights
from tasks import IntOrRange, Task, TaskDistribution, nominal, size_range
from tasks.observations import part_index

MOST_ROUNDS = 10_000  # of communication in a step
DEFAULT_IDENTITY_SIZE = 8  # where nothing else tells experts apart


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """An agent of named parts, how it learns, and on what device.

    A flag that names a part takes a registered name (`badger list`) or `module:name`, and brings the part's own options
    as flags: `--core episodic --core.slots 32`.

    Args:
        core: recurrent core and memory of an expert.
        sense: how experts sense the observation; if not given, each senses all of it, or, in an environment of several
            agents, what its agent observes.
        bus: how messages are combined into an inbox.
        topology: communication graph: which experts hear which.
        act: output head: how the outputs of the experts become one action; in an environment of several agents always
            `team`.
        learner: how the agent is trained.
        experts: number of experts, free after training; two numbers: a range, drawn for each outer step. In an
            environment of several agents a multiple of their number: equally many act for each; 0: one for each.
        message_size: numbers in an inbox.
        comm_rounds: rounds of communication in a step: a message of one round is read in the next, and that of the last
            round in the next step.
        identity_size: random numbers that tell experts apart, drawn for each episode; default 8, or 0 where the act
            names them.
        fit_steps: steps of random actions, for each of the batch, to which a core that can be fitted, such as rpsp, is
            fitted before training; 0: it starts at random.
        auxiliary_weights: weights of the core's auxiliary losses by name; default: those that the core suggests.
        batch: episodes in an outer step.
        lr: peak of the learning rate; if not given, that of the recipe for the learner.
        schedule: cosine: linear warm-up over 5 % of the outer steps, then a half cosine to 0; constant; cooldown:
            constant, then linear to 0 over the last 30 %; linear: from the peak to 0 over all outer steps.
        normalize_obs: normalize observations by their running mean and variance, which the agent keeps; codes, such as
            one-hot ones, stay as they are.
        orthogonal_init: orthogonal first weights, with a small output head.
        action_std: of continuous actions: one learned standard deviation, shared by all numbers of an action, or each
            its own.
        outer_steps: updates of the shared policy.
        evaluate_every: outer steps between two evaluations on 20 held-out episodes (all of a finite task), which then
            decide best.pt; default: the last 100 training episodes decide.
        seed: seed of all random numbers.
        seeds: number of agents that are trained together as one batch, with seeds from `seed` on.
        device: cpu, cuda, or auto: cuda where there is one.
        grad_checkpoint_steps: keep the graph of so many steps and recompute the rest in the backward pass.
        precision: float32, or bf16 for matrix products in bfloat16.
        compile: compile the agent's step by torch.compile.
        cuda_graph: capture an outer step as a CUDA graph and replay it.
        shard_experts: under torchrun, spread the experts of each episode over the processes, not the episodes: for
            agents that do not fit into one.
    """

    core: Part = CORE("gru")
    sense: Part = SENSE("broadcast")
    bus: Part = BUS("attention")
    topology: Part = TOPOLOGY("complete")
    act: Part = ACT("named_outputs")
    learner: Part = LEARNER("bptt")
    experts: IntOrRange = 4
    message_size: int = 16
    comm_rounds: int = 1
    identity_size: int | None = None
    fit_steps: int = 0
    auxiliary_weights: dict[str, float] | None = None
    batch: int = 64
    lr: float | None = 2e-3
    schedule: str = "cosine"
    normalize_obs: bool = False
    orthogonal_init: bool = False
    action_std: Literal["shared", "each"] = "shared"
    outer_steps: int | None = 1500
    evaluate_every: int | None = None
    seed: int = 0
    seeds: int = 1
    device: str = "auto"
    grad_checkpoint_steps: int | None = None
    precision: Precision = "float32"
    compile: bool = False
    cuda_graph: bool = False
    shard_experts: bool = False

    def with_default_experts(self, task: Task) -> "Setup":
        """The setup with an expert for each agent of the environment, where no number of experts is given.

        Args:
            task: the environment.
        """
        return self if self.experts or task.agents is None else dataclasses.replace(self, experts=task.agents)

    def make_run(
        self,
        tasks: Task | TaskDistribution,
        *,
        learner_defaults: Mapping[str, Any] | None = None,
        data: EpisodeDataset | None = None,
    ) -> Run:
        """A run of this agent on a task or a distribution of tasks; of a population where there are several seeds.

        Args:
            tasks: what the agent is trained on.
            learner_defaults: options of the learner where the recipe has others than the learner's own, and none are
                given; those that the learner does not have are ignored.
            data: recorded episodes, for a learner that needs them (`badger.learners.requirements`).

        Raises:
            ValueError: an unknown name or option, a flag that the learner does not have, a task that it cannot learn,
                or sizes that do not fit.
        """
        self._check_numbers()
        assert self.outer_steps is not None  # checked before
        learner = self.learner.with_defaults(learner_defaults or {})
        check_data_given(learner.factory, learner.name, data)
        check_task(learner.factory, learner.name, tasks)
        tasks = with_previous(learner.factory, tasks)
        if self.seeds > 1 and not requirement(learner.factory, "joins_populations"):
            raise ValueError(f"seeds={self.seeds}: learner {learner.name!r} trains one agent at a time; want seeds=1")
        if self.seeds > 1 and self.shard_experts:
            raise ValueError(f"seeds={self.seeds} with shard_experts=True: want seeds=1, one agent over all processes")
        device, training = resolve_device(self.device), self._training_flags(learner)
        self._check_memory(nominal(tasks), learner, device)
        members = []
        for seed in range(self.seed, self.seed + self.seeds):
            with drawing_from(generator(seed, "init")):
                agent = self.make_agent(
                    nominal(tasks),
                    critic=requirement(learner.factory, "needs_critic"),
                    deviations=samples_actions(learner.factory) and requirement(learner.factory, "samples_numbers"),
                ).to(device)
            if self.fit_steps:
                self._fit(agent, nominal(tasks), generator(seed, "fit", device=device))
            weights = default_loss_weights(agent.core) if self.auxiliary_weights is None else self.auxiliary_weights
            training["auxiliary"] = {name: weight for name, weight in weights.items() if weight}
            recorded = {} if data is None else {"data": data}
            members.append(learner.build(agent, tasks, seed=seed, **training, **recorded))
        check_outer_steps(members[0], learner.name, self.outer_steps)
        learner_of_run = members[0] if self.seeds == 1 else Population(members)
        return Run(learner_of_run, outer_steps=self.outer_steps, evaluate_every=self.evaluate_every)

    def make_agent(self, task: Task, *, critic: bool = False, deviations: bool = False) -> Agent:
        """The agent for a task.

        Args:
            task: gives the sizes of observation and action, and the number of agents.
            critic: with a value estimate as its last output.
            deviations: with standard deviations of real numbers.

        Raises:
            ValueError: an unknown name or option, or sizes that do not fit.
        """
        sensing, core, bus, head, identity = self._build_parts(task)
        agents = {} if task.agents is None else {"agents": task.agents}
        if deviations:
            head = act.with_deviations(head, task.action_space, each=self.action_std == "each")
        if critic:
            head = act.WithCritic(head, act.Team(core.output_size, 1, **agents) if agents else None)
        agent = Agent(
            sense=sensing,
            core=core,
            bus=bus,
            act=head,
            topology=self.topology.bound(),
            experts=size_range(experts=self.experts)[1],
            identity_size=identity,
            comm_rounds=self.comm_rounds,
        )
        if self.orthogonal_init:
            orthogonal_(agent)
        return agent

    def _fit(self, agent: Agent, task: Task, rng: torch.Generator) -> None:
        fit: Any = getattr(agent.core, "fit", None)
        if fit is None:
            raise ValueError(f"fit_steps={self.fit_steps}: core {self.core.name!r} cannot be fitted; leave it out")
        if requirement(self.learner.factory, "needs_differentiable"):
            raise ValueError(
                f"fit_steps={self.fit_steps}: learner {self.learner.name!r} draws no actions; want ppo or a2c"
            )
        fit(*record_core_inputs(agent, task, self.batch, self.fit_steps, rng))

    def _build_parts(self, task: Task) -> tuple[Sense, Core, Bus, Act, int]:
        """Sense, core, bus, output head and the size of identities."""
        sense, head = self._interface(task)
        agents = {} if task.agents is None else {"agents": task.agents}
        with torch.device("meta"):  # only to ask for sizes: draws no random numbers
            message_size = self.bus.build(1, self.message_size).message_size
            name_size = head.build(1, task.action_space.size, **agents).name_size
        identity = self.identity_size
        if identity is None:
            identity = 0 if name_size else DEFAULT_IDENTITY_SIZE
        experts = size_range(experts=self.experts)[1]
        sensing = sense.build(task.obs_size, obs_parts=task.obs_parts, **agents)
        if self.normalize_obs and any(task.numeric_obs):
            sensing = Normalized(sensing, task.obs_size, numeric=task.numeric_obs)
        heard = sensing.output_size + message_size
        core = self.core.build(
            heard + identity + name_size,
            experts=experts,
            target_size=heard,
            model=task.known_model,
            position=part_index(task.obs_parts, "position") if isinstance(sensing, Broadcast) else None,
            layout=step_layout(task) if sensing.elementwise else None,
        )
        self._check_measurements(core, sensing)
        bus = self.bus.build(core.output_size, self.message_size)
        return sensing, core, bus, head.build(core.output_size, task.action_space.size, **agents), identity

    def _check_measurements(self, core: Core, sensing: Sense) -> None:
        if not any(getattr(part, "reads_measurements", False) for part in core.modules()) or type(sensing) is Broadcast:
            return
        changed = "normalize_obs=True" if isinstance(sensing, Normalized) else f"sense={self.sense.name}"
        raise ValueError(
            f"{changed}: core {self.core.name!r} reads the observation as the task gives it; want sense broadcast, and "
            "no normalize_obs"
        )

    def _check_memory(self, task: Task, learner: Part, device: torch.device) -> None:
        with torch.device("meta"):
            _, core, bus, _, _ = self._build_parts(task)
        experts = size_range(experts=self.experts)[1]
        if self.shard_experts:
            experts = -(-experts // distributed.world_size())
        check_training_fits(
            core, bus, task, learner, batch=self.batch, experts=experts, seeds=self.seeds, device=device
        )

    def _check_numbers(self) -> None:
        positive = ("batch", "outer_steps", "seeds", "message_size", "comm_rounds")
        lowest = dict.fromkeys(positive, 1) | {"seed": 0, "identity_size": 0, "fit_steps": 0}
        for name, low in lowest.items():
            value = getattr(self, name)
            if value is not None and value < low:
                raise ValueError(f"{name}={value}, want at least {low}")
        if self.comm_rounds > MOST_ROUNDS:
            raise ValueError(f"comm_rounds={self.comm_rounds}, want at most {MOST_ROUNDS:,}")
        if self.outer_steps is None:
            raise ValueError("outer_steps=None, want the number of updates")
        if self.lr is None or not 0 < self.lr < math.inf:
            raise ValueError(f"lr={self.lr}, want a learning rate above 0, such as 0.001")
        if size_range(experts=self.experts)[0] < 0 or self.experts == 0:
            raise ValueError(f"experts={self.experts}, want at least 1")

    def _training_flags(self, learner: Part) -> dict[str, Any]:
        """The flags that the learner has; one that it does not have is refused unless it is left at its default."""
        flags: dict[str, Any] = {"lr": self._schedule()}
        for name in TRAINING_FLAGS:
            value = getattr(self, name)
            if learner.accepts(name):
                flags[name] = value
            elif value != getattr(Setup, name) and name != "experts":
                raise ValueError(f"{name}={value}: learner {learner.name!r} has no {name}; leave it out")
        return flags

    def _interface(self, task: Task) -> tuple[Part, Part]:
        """Sense and act; in an environment of several agents by teams, whose sizes must fit."""
        if task.agents is None:
            return self.sense, self.act
        if self.act.name not in (Setup.act.name, "team"):
            raise ValueError(
                f"act={self.act.name}: each of the {task.agents} agents of this environment acts by its own team; "
                "leave it out"
            )
        low, high = size_range(experts=self.experts)
        if low < high:
            raise ValueError(f"experts={self.experts}, want one number that is a multiple of {task.agents}, the agents")
        team_size(high, task.agents)
        return (SENSE("team") if self.sense == Setup.sense else self.sense), ACT("team")

    def _schedule(self) -> LearningRate:
        assert self.lr is not None and self.outer_steps is not None  # checked before
        kinds: dict[str, LearningRate] = {
            "cosine": WarmupCosine(self.lr, total=self.outer_steps, warmup=self.outer_steps // 20),
            "constant": WarmupCosine(self.lr),
            "cooldown": Cooldown(self.lr, self.outer_steps),
            "linear": Cooldown(self.lr, self.outer_steps, fraction=1.0),
        }
        return get_by_name(kinds, self.schedule, "schedule")


def resolve_device(name: str) -> torch.device:
    """The device of that name; "auto" is cuda where there is one. Raises ValueError for cuda where there is none."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    if not re.fullmatch(r"cpu|cuda(:\d+)?", name):
        raise ValueError(f"device={name!r}, want cpu, cuda or auto")
    device = torch.device(name)
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device={name!r}, but torch {torch.__version__} sees no CUDA device here; use cpu or auto")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise ValueError(f"device={name!r}, want a number below {torch.cuda.device_count()}, the number of GPUs")
    return device
