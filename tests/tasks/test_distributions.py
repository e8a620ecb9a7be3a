"""Task distributions: random sizes, mixtures and curricula, and how a learner samples from them."""

from collections import Counter

import pytest
import torch

from badger import BPTT, GuessingGame, Population, RepeatPrevious, Run, build_run, train
from badger.runs.recorder import read_metrics
from tasks import Curriculum, Mixture, PrioritySort, RandomSizes, nominal, size_range
from toys import game, seeded, toy_agent

GAME = game()


def draws(tasks, count=300):
    rng = seeded()
    return [tasks.sample(rng) for _ in range(count)]


def test_sizes_are_uniform_over_their_range():
    counts = Counter(task.dims for task in draws(RandomSizes(GAME, {"dims": (3, 6)}), 2000))
    assert sorted(counts) == [3, 4, 5, 6]
    assert max(abs(count - 500) for count in counts.values()) < 80  # 4 standard deviations


def test_sizes_are_sampled_independently():
    tasks = draws(RandomSizes(GAME, {"dims": (1, 2), "steps": (4, 5)}))
    assert {(task.dims, task.steps) for task in tasks} == {(1, 4), (1, 5), (2, 4), (2, 5)}
    assert {task.dtype for task in tasks} == {torch.float64}


def test_the_nominal_task_has_the_upper_ends():
    assert nominal(RandomSizes(GAME, {"dims": (3, 6), "steps": 7})) == GuessingGame(7, 6, dtype=torch.float64)


def test_ranges_of_one_number_are_that_task_alone():
    assert RandomSizes(GAME, {"dims": 3, "steps": (7, 7)}).simplify() == GuessingGame(7, 3, dtype=torch.float64)
    assert isinstance(RandomSizes(GAME, {"dims": (3, 4)}).simplify(), RandomSizes)


@pytest.mark.parametrize(
    ("ranges", "error"),
    [
        ({"dim": (3, 6)}, "GuessingGame has no field 'dim', want some of: steps, dtype, dims"),
        ({"dims": (6, 3)}, r"dims=\(6, 3\), want a number, or a range such as \(3, 6\)"),
        ({"dims": (0, 2)}, "dims=0, want at least 1"),
    ],
)
def test_ranges_that_make_no_sense_are_refused(ranges, error):
    with pytest.raises(ValueError, match=error):
        RandomSizes(GAME, ranges)


def test_ranges_whose_ends_are_incompatible_are_refused():
    sort = PrioritySort(vectors=20, answers=16)
    assert {task.vectors for task in draws(RandomSizes(sort, {"vectors": (4, 6), "answers": 4}))} == {4, 5, 6}
    with pytest.raises(ValueError, match="answers=8 of vectors=4, want answers <= vectors"):
        RandomSizes(sort, {"vectors": (4, 8), "answers": (4, 8)})


def test_a_mixture_samples_by_its_weights():
    easy, hard = game(3), game(9)
    counts = Counter(task.steps for task in draws(Mixture([easy, hard], [3, 1]), 2000))
    assert abs(counts[3] - 1500) < 80 and set(counts) == {3, 9}


def test_a_mixture_may_hold_ranges():
    mixed = Mixture([RandomSizes(GAME, {"dims": (3, 4)}), game(9)])
    assert {(task.dims, task.steps) for task in draws(mixed)} == {(3, 5), (4, 5), (2, 9)}
    assert nominal(mixed) == GuessingGame(5, 4, dtype=torch.float64)


@pytest.mark.parametrize(
    ("tasks", "weights", "error"),
    [
        ([], None, "a mixture of 0 tasks"),
        ([GAME, RepeatPrevious(symbols=3)], None, r"observations of sizes \{'GuessingGame': 1, 'RepeatPrevious': 3\}"),
        ([GAME, GAME], [1.0], r"weights=\[1\.0\], want 2 non-negative numbers that are not all 0"),
        ([GAME, GAME], [1.0, -1.0], r"weights=\[1\.0, -1\.0\], want 2"),
        ([GAME], [0.0], r"weights=\[0\.0\], want 1"),
    ],
)
def test_mixtures_that_make_no_sense_are_refused(tasks, weights, error):
    with pytest.raises(ValueError, match=error):
        Mixture(tasks, weights)


def test_a_curriculum_goes_from_one_to_the_next():
    steps = [
        Curriculum([game(3), RandomSizes(game(4), {"dims": 2}), game(9)], [2, 5]).sample(seeded(), s).steps
        for s in range(7)
    ]
    assert steps == [3, 3, 4, 4, 4, 9, 9]


def test_a_curriculum_ends_with_the_nominal_one():
    easy, hard = RandomSizes(GAME, {"dims": (1, 2)}), RandomSizes(GAME, {"dims": (3, 4)})
    assert nominal(Curriculum([easy, hard], [3])) == nominal(hard)


def test_a_learner_passes_its_outer_step_to_a_curriculum():
    tasks = Curriculum([game(3), game(4)], [2])
    learner = BPTT(toy_agent(tasks.nominal), tasks, batch=2)
    played = []
    for _ in range(4):
        played.append(learner.sample_task_and_experts()[0].steps)
        learner.update()
    assert played == [3, 3, 4, 4]


def test_ranges_may_grow():
    growing, rng = RandomSizes(GAME, {"dims": (1, 2), "steps": (3, 6)}).widening_curriculum(2, 8), seeded()
    sizes = [{(task.dims, task.steps) for task in (growing.sample(rng, step) for _ in range(100))} for step in range(9)]
    assert sizes[0] == sizes[1] == {(1, 3)}  # from here on, steps grow by one every two outer steps
    assert sizes[2] == sizes[3] == {(1, 3), (1, 4)}
    assert sizes[4] == sizes[5] == {(1, 3), (1, 4), (1, 5)}
    assert sizes[6] == sizes[7] == {(dims, steps) for dims in (1, 2) for steps in (3, 4, 5, 6)}
    assert sizes[8] == {(2, 6)}


def test_ranges_may_rise_a_size_at_a_time():
    rising, rng = RandomSizes(GAME, {"dims": (1, 2), "steps": (3, 6)}).increasing_curriculum(2, 8), seeded()
    sizes = [{(task.dims, task.steps) for task in (rising.sample(rng, step) for _ in range(100))} for step in range(9)]
    assert sizes == [{(1, 3)}] * 2 + [{(1, 4)}] * 2 + [{(1, 5)}] * 2 + [{(2, 6)}] * 3


@pytest.mark.parametrize("how", [RandomSizes.widening_curriculum, RandomSizes.increasing_curriculum])
@pytest.mark.parametrize(
    ("ranges", "begin", "end", "error"),
    [
        ({"dims": 2, "steps": (3, 3)}, 2, 8, r"no range in \{'dims': 2, 'steps': \(3, 3\)\} has more than one value"),
        ({}, 2, 8, r"no range in \{\}"),
        ({"steps": (3, 6)}, 0, 8, "curriculum from 0 to 8, want outer steps above 0, at least 3 of them"),
        ({"steps": (3, 6)}, 4, 6, "curriculum from 4 to 6, want outer steps above 0, at least 3 of them"),
    ],
)
def test_ranges_that_cannot_grow_are_refused(ranges, begin, end, error, how):
    with pytest.raises(ValueError, match=error):
        how(RandomSizes(GAME, ranges), begin, end)


@pytest.mark.parametrize(
    ("tasks", "until", "error"),
    [
        ([], [], "a curriculum of 0 tasks"),
        ([GAME, RepeatPrevious(symbols=3)], [5], "observations of sizes .* want the same of all tasks in a curriculum"),
        ([GAME, GAME], [], r"until=\[\], want 1 increasing outer steps above 0"),
        ([GAME, GAME], [0], r"until=\[0\], want 1"),
        ([GAME] * 3, [5, 5], r"until=\[5, 5\], want 2"),
    ],
)
def test_curricula_that_make_no_sense_are_refused(tasks, until, error):
    with pytest.raises(ValueError, match=error):
        Curriculum(tasks, until)


@pytest.mark.parametrize("size", [3, (3, 3)])
def test_both_ends_of_a_number_are_the_number(size):
    assert size_range(dims=size) == (3, 3)


# --- a learner


def varied(tasks=None, seed=0, **options):
    tasks = tasks or RandomSizes(GAME, {"dims": (2, 3), "steps": (3, 5)})
    return BPTT(toy_agent(nominal(tasks), port="named_outputs", core="episodic"), tasks, batch=2, seed=seed, **options)


def test_each_outer_step_samples_its_sizes():
    learner, seen = varied(experts=(3, 6)), set()
    for step in range(100):
        learner.step = step
        task, experts = learner.sample_task_and_experts()
        seen.add((task.dims, task.steps, experts))
    assert len(seen) == 2 * 3 * 4


def test_the_sampled_task_is_rolled_out(monkeypatch):
    learner, played = varied(experts=(3, 6)), []
    forward = type(learner.agent).forward
    monkeypatch.setattr(
        type(learner.agent), "forward", lambda *args: played.append(args[2].assignment.shape) or forward(*args)
    )
    for _ in range(4):
        played.clear()
        task, experts = learner.sample_task_and_experts()
        assert learner.update()["finite"]
        assert played == [(2, task.dims, experts + learner.agent.act.name_size)] * task.steps


def test_a_run_of_ranges_is_the_same_again_and_goes_on_the_same():
    def parameters(learner):
        return torch.cat([p.flatten() for p in learner.agent.parameters()])

    whole, first, second = varied(experts=(3, 6)), varied(experts=(3, 6)), varied(experts=(3, 6))
    for _ in range(4):
        whole.update()
    for _ in range(2):
        first.update()
    second.load_state_dict(first.state_dict())
    for _ in range(2):
        second.update()
    assert torch.equal(parameters(whole), parameters(second))


def test_a_sampled_task_without_gradient_is_refused():
    class Blind(GuessingGame):
        differentiable = False

    with pytest.raises(ValueError, match="Blind gives rewards without gradient"):
        varied(RandomSizes(Blind(3, 2), {"steps": (3, 4)}))


@pytest.mark.parametrize("experts", [0, (0, 3)])
def test_no_experts_are_refused(experts):
    with pytest.raises(ValueError, match="want at least 1"):
        varied(experts=experts)


def test_all_members_of_a_population_need_one_size():
    with pytest.raises(ValueError, match="the member with seed 0 samples its sizes for each outer step"):
        Population([varied(seed=0), varied(seed=1)])


def test_a_cuda_graph_wants_one_size():
    with pytest.raises(ValueError, match="sizes are sampled for each outer step, want the same in all"):
        varied(cuda_graph=True)


def test_tasks_of_a_mixture_can_have_different_scores(tmp_path):
    class Other(GuessingGame):
        def step(self, state, action, rng):
            state, step = super().step(state, action, rng)
            return state, step._replace(scores={"other": step.scores["final_error"]})

    tasks = Mixture([GAME, Other(5, 2, dtype=torch.float64)])
    run = Run(varied(tasks), outer_steps=12, folder=tmp_path / "run", log_every=3)
    train(run, quiet=True, tensorboard=False)
    rows = read_metrics(tmp_path / "run")
    assert len(rows) == 12
    for row in rows:
        assert (row.get("other") is None) != (row["final_error"] is None)  # each returned by one of the tasks
    assert rows[-1]["final_error_ema"] is not None


# --- a recipe


def test_a_recipe_takes_ranges_also_as_json_gives_them():
    run = build_run(
        "guessing_game",
        dims=[2, 3],
        steps=(3, 4),
        experts=[4, 9],
        message_size=4,
        batch=4,
        **{"core.hidden_size": 6, "core.key_size": 4},
    )
    assert run.learner.task == GuessingGame(4, 3) and run.learner.experts == (4, 9) and run.learner.agent.experts == 9
    assert run.learner.update()["finite"]
