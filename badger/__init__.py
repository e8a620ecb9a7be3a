"""Badger agents: many experts with shared weights, memories and communication, meta-trained over episodes.

This package composes the other three (`experts`, `comms`, `tasks`). It exports the names that a user types most, also
theirs: agents and their parts, tasks, learners, runs, evaluation, and the registries of parts by name. All other names
are imported from their sub-package, as in `from badger.rollouts.trajectory import Trajectory`.

- `badger.agent`: `Agent`, from sense, core, bus and act. `badger.sense`, `badger.act`: input maps and output heads.
  `badger.normalized_sense`: observations normalized by running moments.
- `badger.rollouts`: an agent acts in episodes of a task. `badger.policies`: from outputs to actions.
- `badger.learners`: one outer step each: BPTT, A2C, PPO, DQN, DRQN, R2D2, Dreamer, World Models, populations of seeds.
- `badger.runs`: the outer loop, checkpoints, metrics. `badger.recipes`: agents for tasks, as typed functions.
- `badger.evaluation`, `badger.figures`: scores of trained agents, inspection, plots.
- `badger.planning`: solvers of partially observed Markov decision processes.
- `badger.study`: arms x seeds with error bars. `badger.bench`: speed and memory, compared with references.
- `badger.distributed`: several processes; `badger.sharding`: one agent over them. `badger.rng`: derived random streams.

An agent that balances a pole without observing velocities, trained by reward alone, and a task as an environment of
PettingZoo:

```python
import gymnasium
from badger import GRU, PPO, Agent, GuessingGame, Gymnasium, Run, Silent, act, sense, to_parallel_env

task = Gymnasium(lambda: gymnasium.make("CartPole-v1"), mask_velocity=True)  # an id, or any factory
agent = Agent(
    sense=sense.Broadcast(task.obs_size),
    core=GRU(task.obs_size, hidden_size=64),
    bus=Silent(64, 0),
    act=act.WithCritic(act.Mean(64, task.action_space.size)),
    topology="none",
    experts=1,
    identity_size=0,
)
run = Run(PPO(agent, task, batch=8, lr=2e-3), outer_steps=97, folder="runs/cartpole")  # train it with badger.train(run)

env = to_parallel_env(GuessingGame(dims=4))  # a pettingzoo.ParallelEnv; to_gymnasium makes a gymnasium.Env
```

In an environment of several agents, each agent is one expert or a team of them: the number of experts is a multiple of
the number of agents. An environment that raises, hangs, dies or returns NaN ends the run with an error that names the
copy, its seed, the step and the worker's traceback. Checkpoints written before are kept.

# Command line

```
badger train guessing_game --seeds 8 --folder runs/eight       # a population of 8 agents
badger train guessing_game --experts 5 40 --dims 3 6           # random sizes in each outer step
badger train dictionary_inference --core dnc                   # or episodic, neural_memory, plastic, gru ...
badger train maze --core plastic                               # by A2C
badger train t_maze --learner r2d2                             # or ppo, a2c, drqn
badger train gymnasium --env popgym:popgym-RepeatPreviousEasy-v0 --steps 60   # pip install '.[envs]'
badger train pettingzoo --env mpe2.simple_spread_v3            # any ParallelEnv
badger train spread --evaluate-every 50                        # the same world in torch; evaluations decide best.pt
badger train guessing_game --core my_module:MyCore --core.any-option 3
badger train my_module:my_recipe --any-argument-of-it 3
badger train gymnasium --env Pendulum-v1 --total-steps 300000  # environment steps over all copies
badger resume runs/eight
badger resume runs/eight --total-steps 3000000                 # trains on
badger evaluate runs/shared --experts 64 --steps 80 --lesion 0,3 --json result.json
badger evaluate runs/eight --member 3
badger evaluate runs/cartpole --sampled --episodes 100         # or --deterministic
badger record runs/cartpole --episodes 1000 --out data.h5      # episodes in a file, for learning offline
badger record --recipe t_maze --random --out walks.h5          # of random actions
badger evaluate runs/shared --env-api pettingzoo               # the same episodes, in an environment of PettingZoo
badger evaluate runs/shared --grid --experts 4 8 16 --dims 2 4 8 --slots 16 64    # table, CSV and heat maps
badger inspect runs/shared --animate episode.html              # an episode, step by step, with a slider
badger study memory-helps --quick                              # a minute or two
badger study memory-helps --jobs 2                             # in full; the same command resumes it
badger study memory-helps --executor dask://HOST:PORT        # on the machines of a dask cluster, which see the folder
badger study reproduce --report                              # published results and ours, with verdicts
badger compare runs/a runs/b --threshold 0.1                   # a report of any runs
badger bench --json bench.json
badger train pomdp --model tiger.95 --core exact_belief        # or --core gru; any file in Cassandra's format
badger solve tiger.95 --method exact                           # value, bounds and policy of a POMDP, with pictures
badger list
```

# Runs

A run is a folder: `run.json` (recipe, arguments, versions, commit), `metrics.jsonl` (one line for each outer step),
TensorBoard events, and `checkpoints/`. The configuration of a run is the keyword arguments of its recipe, a typed
Python function that returns a `Run`; there is no other configuration. A resumed run continues bit for bit on a CPU.
A run folder is data, which may come from a stranger: `badger.trust` says what may be opened and what may not.

Ctrl-C, SIGTERM, and signals that schedulers send before the end (SIGHUP, SIGUSR1 ...) save the run after the current
outer step; the exit code is 128 + the number of the signal. `badger.runs.signals` has the details.

# Populations

With `--seeds 8` eight agents are trained as one batched computation. Each has its own weights, episodes and optimizer,
and gets the result of a run with its seed alone, up to rounding (gates draw other random numbers). `metrics.jsonl` and
TensorBoard hold the curve of each (`final_error/seed_3`) beside the mean. If one diverges, the others continue. Each of
`badger.load_run("runs/eight").learner.members` has an ordinary agent. In Python:
`Population([BPTT(agent, task, seed=0), BPTT(another, task, seed=1)])`.

# Several processes or machines

```
torchrun --no-python --standalone --nproc-per-node=2 badger train guessing_game --batch 128 --folder runs/two
torchrun --no-python --nnodes=2 --nproc-per-node=8 --rdzv-backend=c10d --rdzv-endpoint=HOST:29500 \\
    badger train guessing_game
torchrun --no-python --standalone --nproc-per-node=2 badger resume runs/two
```

The second command is entered on each of two machines. `--batch` is the total over all processes. Gradients are averaged
once for each outer step (NCCL on GPUs, one for each process; gloo on CPUs). Only rank 0 writes the folder, which all
machines must be able to read when a run is resumed. If a process dies, the run ends; resume it from its last
checkpoint. If torchrun is killed, its processes save and end. With another number of processes the parameters are
restored exactly, but the episodes that follow differ, and a message says so. In a script of your own:
`with badger.distributed.process_group(): ...`.

With `--shard-experts` it is not the episodes that are divided over the processes, but the experts of each episode, with
their states and memories: for one agent that is too large for one machine. In a round of communication an expert's
output goes once to each process that hears it; rings, lattices and grids are cut into blocks, other graphs where few
edges cross. Losses and gradients are those of one process, up to rounding, and a run may resume with another number of
processes, by `a2c` and `ppo` with new episodes. It trains by `bptt`, `a2c`, `ppo` and `reinforce`; experts that share a
memory, populations, tasks with several agents and external environments are refused. Evaluations and pictures are made
by rank 0 with the whole agent. In Python: `BPTT(..., shard_experts=True)`, or
`badger.sharding.shard_experts(agent)` in the place of any agent.

```
torchrun --no-python --standalone --nproc-per-node=2 \\
    badger train guessing_game --shard-experts --experts 1000 --topology ring_lattice
```

# Long episodes, large agents, speed

| flag of a recipe, option of `BPTT` | effect |
|---|---|
| `--grad-checkpoint-steps 100` | gradient checkpointing: keeps the graph of 100 steps, recomputes the rest; exact |
| `--precision bf16` | matrix products in bfloat16; hidden states, memories, parameters and sums stay float32 |
| `--compile` | the agent's step by `torch.compile`: takes a minute at the start; identical results, faster |
| `--cuda-graph` | on a GPU: rollout, backward pass and optimizer step are captured once and replayed |
"""

import importlib

for _name, _registry in {"comms": "BUSES", "experts": "CORES", "tasks": "TASKS"}.items():
    _module = importlib.import_module(_name)  # the names are common words: a user's file may have the same one
    if not hasattr(_module, _registry):
        _path = getattr(_module, "__file__", None) or list(getattr(_module, "__path__", []))
        raise ImportError(
            f"`import {_name}` finds {_path}, which is not the package {_name} of badger-agents but hides it: "
            "rename it, or start Python elsewhere"
        )

from badger import act, figures, sense  # noqa: E402
from badger.act import ACTS  # noqa: E402
from badger.agent import Agent  # noqa: E402
from badger.errors import BadgerError  # noqa: E402
from badger.evaluation.evaluate import evaluate  # noqa: E402
from badger.evaluation.inspection import inspect_agent  # noqa: E402
from badger.evaluation.size_grid import evaluate_grid  # noqa: E402
from badger.learners import A2C, BPTT, DQN, DRQN, LEARNERS, PPO, R2D2, Learner  # noqa: E402
from badger.learners.population import Population  # noqa: E402
from badger.policies.policies import POLICIES, EpsilonGreedy, Greedy, Sampled  # noqa: E402
from badger.recipes import RECIPES  # noqa: E402
from badger.recipes.actors import load_actor  # noqa: E402
from badger.recipes.build import build_run, load_or_train, load_run  # noqa: E402
from badger.recipes.flags import recipe  # noqa: E402
from badger.rng import generator  # noqa: E402
from badger.rollouts.loop import rollout  # noqa: E402
from badger.rollouts.trajectory import initial_carry  # noqa: E402
from badger.runs.recorder import read_metrics  # noqa: E402
from badger.runs.run import Run  # noqa: E402
from badger.runs.training import train  # noqa: E402
from badger.sense import SENSES  # noqa: E402
from badger.study import STUDIES  # noqa: E402
from badger.version import __version__ as __version__  # noqa: E402
from comms import (  # noqa: E402
    BUSES,
    TOPOLOGIES,
    Attention,
    Bus,
    Delayed,
    Gated,
    Mean,
    Noisy,
    Silent,
    Workspace,
)
from experts import (  # noqa: E402
    AMRL,
    CORES,
    CPC,
    DNC,
    GRU,
    LSTM,
    ClusteredMemory,
    Core,
    EpisodicMemory,
    Feedforward,
    GTrXL,
    LookupTable,
    NeuralMemory,
    Plastic,
    Private,
    Reconstruction,
    TaggedMemory,
    Unrolled,
    Window,
)
from tasks import (  # noqa: E402
    TASKS,
    AssociativeRecall,
    BAbI,
    CardGame,
    CardGameImitation,
    CartPole,
    Copy,
    DictionaryInference,
    DoubleCopy,
    GuessingGame,
    Gymnasium,
    Maze,
    PettingZoo,
    Pomdp,
    PooledRecall,
    PrioritySort,
    ProofOfMemory,
    RepeatPrevious,
    SequentialMNIST,
    Spread,
    Task,
    TMaze,
    TMazeLong,
    to_gymnasium,
    to_parallel_env,
)

__all__ = [
    "A2C",
    "ACTS",
    "AMRL",
    "BPTT",
    "BUSES",
    "CORES",
    "CPC",
    "DNC",
    "DQN",
    "DRQN",
    "GRU",
    "LEARNERS",
    "LSTM",
    "POLICIES",
    "PPO",
    "R2D2",
    "RECIPES",
    "SENSES",
    "STUDIES",
    "TASKS",
    "TOPOLOGIES",
    "Agent",
    "AssociativeRecall",
    "Attention",
    "BAbI",
    "BadgerError",
    "Bus",
    "CardGame",
    "CardGameImitation",
    "CartPole",
    "ClusteredMemory",
    "Copy",
    "Core",
    "Delayed",
    "DictionaryInference",
    "DoubleCopy",
    "EpisodicMemory",
    "EpsilonGreedy",
    "Feedforward",
    "GTrXL",
    "Gated",
    "Greedy",
    "GuessingGame",
    "Gymnasium",
    "Learner",
    "LookupTable",
    "Maze",
    "Mean",
    "NeuralMemory",
    "Noisy",
    "PettingZoo",
    "Plastic",
    "Pomdp",
    "PooledRecall",
    "Population",
    "PrioritySort",
    "Private",
    "ProofOfMemory",
    "Reconstruction",
    "RepeatPrevious",
    "Run",
    "Sampled",
    "SequentialMNIST",
    "Silent",
    "Spread",
    "TMaze",
    "TMazeLong",
    "TaggedMemory",
    "Task",
    "Unrolled",
    "Window",
    "Workspace",
    "act",
    "build_run",
    "evaluate",
    "evaluate_grid",
    "figures",
    "generator",
    "initial_carry",
    "inspect_agent",
    "load_actor",
    "load_or_train",
    "load_run",
    "read_metrics",
    "recipe",
    "rollout",
    "sense",
    "to_gymnasium",
    "to_parallel_env",
    "train",
]


def __dir__() -> list[str]:
    """The public names, without the sub-packages."""
    return sorted(__all__)
