"""Bad input raises a clear error, and no data is lost; more cases are tested with the parts."""

import re
import shutil
from dataclasses import dataclass
from functools import partial
from typing import ClassVar

import networkx as nx
import pytest
import torch

from badger import (
    BPTT,
    BUSES,
    GRU,
    TASKS,
    Agent,
    EpisodicMemory,
    GuessingGame,
    Private,
    act,
    build_run,
    initial_carry,
    read_metrics,
    rollout,
    sense,
    train,
)
from badger.cli.main import main
from comms import Attention, get_by_name, make_edges
from tiny_runs import load_trusted, made, small_disk
from toys import game, toy_agent


def agent(**parts):
    fitting = {"sense": sense.Broadcast(1), "core": GRU(1 + 4 + 8, 6), "bus": Attention(6, 4), "act": act.Mean(6, 1)}
    return Agent(**(fitting | parts), experts=3)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """A run of 10 outer steps, finished. Not to be written to."""
    run = made(tmp_path_factory.mktemp("done") / "run", outer_steps=10)
    train(run, tensorboard=False)
    return run.folder


@pytest.fixture
def mine(done, tmp_path):
    """A copy of it."""
    return shutil.copytree(done, tmp_path / "mine")


@pytest.mark.parametrize(
    "recipe, arguments, message",
    [
        ("gessing_game", {}, "unknown recipe 'gessing_game', want one of: .*, guessing_game, .* mean 'guessing_game'?"),
        ("repeat_previous", {"core": "gruu"}, "unknown core 'gruu', want one of: gru, lstm, .*mean 'gru'?"),
        ("guessing_game", {"bus": "attenton"}, "unknown bus 'attenton', want one of: silent, .*mean 'attention'?"),
        ("guessing_game", {"topology": "rign"}, "unknown topology 'rign', want one of: complete, .*mean 'ring'?"),
        (
            "guessing_game",
            {"act": "reedout"},
            "unknown act 'reedout', want one of: mean, dueling, .*Did you mean 'readout'?",
        ),
    ],
)
def test_the_error_of_an_unknown_name_has_valid_names_and_a_suggestion(recipe, arguments, message):
    with pytest.raises(ValueError, match=message.replace("?", r"\?")):
        build_run(recipe, **arguments)


def test_the_error_of_an_unknown_task_has_valid_names_and_a_suggestion():
    with pytest.raises(ValueError, match=r"unknown task 'guesing_game', want one of: .*Did you mean 'guessing_game'\?"):
        get_by_name(TASKS, "guesing_game", "task")


def test_the_error_of_an_unknown_argument_has_the_valid_ones():
    with pytest.raises(ValueError, match=r"'guessing_game' has no argument 'expert'; did you mean 'experts'\?"):
        build_run("guessing_game", expert=3)


def test_the_error_of_a_core_of_the_wrong_size_has_the_right_one():
    message = r"core\.input_size=12, want obs 1 \+ message 4 \+ identity 8 = 13; build the core with input_size=13"
    with pytest.raises(ValueError, match=message):
        agent(core=GRU(12, 6))


@pytest.mark.parametrize("name, part", [("bus", Attention(5, 4)), ("act", act.Mean(5, 1))])
def test_the_error_of_a_bus_or_head_of_the_wrong_size_has_the_right_one(name, part):
    with pytest.raises(ValueError, match=rf"{name}\.input_size=5, want the core's output_size=6"):
        agent(**{name: part})


def test_the_error_of_a_controller_of_the_wrong_size_has_the_right_one():
    with pytest.raises(ValueError, match=r"input_size=3, want x 3 \+ read 9 = 12; pass a factory int -> Core"):
        EpisodicMemory(3, lambda size: GRU(3, 6))


@pytest.mark.parametrize("experts", [(3, 4), (4, 8), (1, 4)])
def test_a_range_of_experts_of_which_the_head_refuses_some_is_refused_before_training(experts):
    task = game(dims=2)
    with pytest.raises(ValueError, match="want a multiple of outputs=2"):
        BPTT(toy_agent(task, port="round_robin", experts=4), task, batch=2, experts=experts)


@pytest.mark.parametrize(
    "port, message", [("round_robin", "want a multiple of outputs=2"), ("random_owners", "at least outputs=2")]
)
def test_the_error_of_a_wrong_number_of_experts_names_other_heads(port, message):
    task = GuessingGame(dims=2)
    bad = toy_agent(task, port=port, experts=1)
    with pytest.raises(ValueError, match=f"experts=1, .*{message}.*act.Readout"):
        initial_carry(bad, task, 1, torch.Generator())


def test_the_error_of_too_few_slots_names_a_remedy():
    memory = EpisodicMemory(3, partial(GRU, hidden_size=4), slots=4)
    with pytest.raises(ValueError, match=r"slots=4 with 5 members that share a store.*Private"):
        memory.initial_state(torch.zeros(1, 5, 3))
    Private(memory).initial_state(torch.zeros(1, 5, 3))


@pytest.mark.parametrize("name", ["slots", "top_k", "key_size"])
def test_a_memory_has_at_least_one_slot_and_reads_at_least_one_row(name):
    with pytest.raises(ValueError, match=f"{name}=0, want at least 1"):
        EpisodicMemory(3, partial(GRU, hidden_size=4), **{name: 0})


def test_a_graph_of_another_size_raises():
    with pytest.raises(ValueError, match=r"graph has 4 nodes, want experts=3: .*function from the number of experts"):
        agent(topology=nx.cycle_graph(4))


def test_a_negative_edge_weight_raises():
    graph = nx.cycle_graph(3)
    graph.edges[0, 1]["weight"] = -0.5
    with pytest.raises(ValueError, match=r"edge 0 -> 1 has weight -0\.5, want a finite number >= 0"):
        agent(topology=graph)


@pytest.mark.parametrize("bus", ["mean", "attention", "gated"])
def test_an_isolated_expert_has_an_empty_inbox_and_no_nan(bus):
    graph = nx.Graph([(0, 1)])
    graph.add_node(2)
    y = torch.randn(5, 3, 6, requires_grad=True)
    channel = BUSES[bus](6, 4)
    delivery, _ = channel(y, make_edges(graph, 3, 5, y), channel.initial_state(y), torch.Generator())
    assert (delivery.inbox[:, 2] == 0).all()
    delivery.inbox.square().sum().backward()
    gradients = [y.grad, *(p.grad for p in channel.parameters() if p.grad is not None)]
    assert all(g.isfinite().all() for g in gradients)


def test_an_agent_with_an_isolated_expert_trains(rng):
    """Gradients reach every parameter and are finite."""
    graph = nx.Graph([(0, 1)])
    graph.add_node(2)
    task = GuessingGame(3, 1)
    isolated = agent(topology=graph)
    trajectory, _ = rollout(isolated, task, initial_carry(isolated, task, 4, rng), rng, steps=3)
    (-trajectory.reward.sum()).backward()
    assert all(p.grad.isfinite().all() for p in isolated.parameters() if p.grad is not None)


@dataclass(frozen=True)
class NotDifferentiable(GuessingGame):
    """The guessing game, declared as not differentiable."""

    differentiable: ClassVar[bool] = False


def test_a_learner_that_needs_gradient_refuses_a_task_without_it():
    with pytest.raises(ValueError, match=r"NotDifferentiable gives rewards without gradient.*differentiable=True"):
        BPTT(toy_agent(), NotDifferentiable())


def test_a_folder_that_holds_a_run_is_refused_and_the_resume_command_named(mine, capsys):
    assert main(["train", "tiny_runs:tiny", "--folder", str(mine)]) == 2
    assert f"holds a run already; continue it with `badger resume {mine}`" in capsys.readouterr().err
    assert load_trusted(mine).step == len(read_metrics(mine)) == 10


def truncate(folder):
    file = folder / "checkpoints" / "step_00000010.pt"
    file.write_bytes(file.read_bytes()[:-1000])


def corrupt(folder):
    file = folder / "checkpoints" / "step_00000010.pt"
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


def exchange(folder):
    made(folder / "other", seed=1).save()
    (folder / "other" / "checkpoints" / "step_00000000.pt").replace(folder / "checkpoints" / "step_00000010.pt")


@pytest.mark.parametrize(
    "harm, message",
    [(truncate, "is truncated"), (corrupt, "damaged"), (exchange, "a checkpoint of tiny_runs:tiny {'seed': 1}")],
)
def test_a_damaged_checkpoint_is_named_and_the_previous_one_is_loaded(mine, capsys, harm, message):
    harm(mine)
    assert main(["resume", str(mine), "--trust-code", "--no-tensorboard"]) == 0
    out, err = capsys.readouterr()
    message = rf"^badger: warning: loaded .*step_00000005\.pt, because of step_00000010\.pt: .*{message}"
    assert re.search(message, err, re.MULTILINE) and "10 outer steps" in out


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is one")
def test_cuda_raises_without_a_gpu(tmp_path, capsys):
    assert main(["train", "guessing_game", "--device", "cuda", "--folder", str(tmp_path / "run")]) == 2
    assert "sees no CUDA device here; use cpu or auto" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_full_disk_ends_the_command_and_names_the_intact_checkpoint(mine, capsys):
    (mine / "checkpoints" / "step_00000010.pt").unlink()
    with small_disk((mine / "checkpoints" / "step_00000005.pt").stat().st_size - 1):
        assert main(["resume", str(mine), "--trust-code", "--no-tensorboard"]) == 1
    message = capsys.readouterr().err
    assert "outer step 10 could not be saved; the previous checkpoint is intact" in message
    assert f"badger resume {mine}" in message
    assert load_trusted(mine).step == 5
