"""Senses and output heads, checked by hand."""

import pytest
import torch
from torch.testing import assert_close

from badger import act, sense
from toys import HEADS, seeded

B, Y = 2, 3
LIKE = torch.zeros(B, 1, dtype=torch.float64)
PRESENT = torch.tensor([[True, False, True, True]]).expand(B, -1)  # expert 1 of 4 is absent


def outputs_of(experts, batch=B):
    return torch.randn(batch, experts, Y, generator=seeded(1), dtype=torch.float64)


def port(name, outputs=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return HEADS[name](Y, outputs).double()


def expert_outputs(made, y):
    """One output of each expert, which `RoundRobin` and `RandomOwners` average."""
    return made.linear(y).squeeze(-1)


@pytest.mark.parametrize("name", HEADS)
def test_absent_experts_are_masked_out(name):
    made, y = port(name), outputs_of(4).requires_grad_()
    assignment = made.make_assignment(LIKE, 4, 2, seeded())
    action = made(y, assignment, PRESENT)
    (gradient,) = torch.autograd.grad(action.square().sum(), y)
    assert not gradient[:, 1].any() and gradient[:, [0, 2, 3]].any(-1).all()
    changed = y.detach().clone()
    changed[:, 1] += 100
    assert torch.equal(made(changed, assignment, PRESENT), action)


@pytest.mark.parametrize("name", HEADS)
def test_without_experts_the_action_is_zero(name):
    made = port(name)
    present = torch.tensor([[False] * 4, [True] * 4])
    action = made(outputs_of(4), made.make_assignment(LIKE, 4, 2, seeded()), present)
    assert not action[0].any() and action[1].all()


@pytest.mark.parametrize("name", ["mean", "readout"])
def test_present_experts_act_as_if_there_were_no_others(name):
    made, y = port(name), outputs_of(4)
    assignment = made.make_assignment(LIKE, 4, 2, seeded())
    assert_close(made(y, assignment, PRESENT), made(y[:, [0, 2, 3]], assignment, None))


# --- critic


def with_critic(name):
    made = act.WithCritic(port(name)).double()
    torch.nn.init.constant_(made.critic.linear.weight, 0.5)
    return made


@pytest.mark.parametrize("name", HEADS)
@pytest.mark.parametrize("present", [None, PRESENT])
def test_the_value_follows_the_outputs_of_the_wrapped_head(name, present):
    made, y = with_critic(name), outputs_of(4)
    assignment = made.make_assignment(LIKE, 4, 2, seeded())
    action, value = made(y, assignment, present).split([2, 1], -1)
    assert torch.equal(action, made.base(y, assignment, present))
    inputs = y if present is None else y[:, [0, 2, 3]]
    assert_close(value.squeeze(-1), 0.5 * inputs.mean(1).sum(-1))


@pytest.mark.parametrize("name", HEADS)
def test_assignments_and_names_are_those_of_the_wrapped_head(name):
    made, plain = with_critic(name), port(name)
    assert (made.input_size, made.outputs, made.name_size) == (Y, 2, plain.name_size)
    for head in (made, plain):
        head.assignment = head.make_assignment(LIKE, 4, 2, seeded())
        head.after = head.extend_assignment(head.assignment, LIKE, 6, seeded())
        head.called = head.output_names(head.after, 6)
    for wrapped, own in zip(
        (made.assignment, made.after, made.called), (plain.assignment, plain.after, plain.called), strict=True
    ):
        assert (wrapped is None and own is None) or torch.equal(wrapped, own)


def test_values_are_zero_at_initialization():
    assert not act.WithCritic(port("mean")).double()(outputs_of(4).double(), None, None)[:, -1].any()


# --- mean


def test_mean_is_the_mean_of_a_linear_map():
    made, y = port("mean"), outputs_of(3)
    expected = torch.stack([made.linear(y[:, i]) for i in range(3)]).mean(0)
    assert_close(made(y, None, None), expected)


def test_mean_has_a_fixed_number_of_outputs():
    with pytest.raises(ValueError, match=r"outputs=3, want 2: act\.Mean .* act\.RandomOwners and act\.Readout"):
        port("mean").make_assignment(LIKE, 4, 3, seeded())


# --- round robin


def test_expert_i_makes_output_i_modulo_the_number_of_outputs():
    made, y = port("round_robin"), outputs_of(6)
    values = expert_outputs(made, y)
    action = made(y, made.make_assignment(LIKE, 6, 2, seeded()), None)
    assert_close(action, torch.stack([values[:, 0::2].mean(1), values[:, 1::2].mean(1)], 1))


def test_owners_are_renormalized_without_absent_experts():
    made, y = port("round_robin"), outputs_of(4)
    values = expert_outputs(made, y)
    action = made(y, made.make_assignment(LIKE, 4, 2, seeded()), PRESENT)
    assert_close(action, torch.stack([values[:, [0, 2]].mean(1), values[:, 3]], 1))


def test_an_output_without_owners_is_zero():
    made, y = port("round_robin", 4), outputs_of(4)
    action = made(y, made.make_assignment(LIKE, 4, 4, seeded()), PRESENT)
    assert not action[:, 1].any() and action[:, [0, 2, 3]].all()


@pytest.mark.parametrize(("experts", "outputs"), [(3, 2), (1, 2), (3, 4)])
def test_round_robin_needs_a_multiple_of_the_outputs(experts, outputs):
    message = rf"experts={experts}, want a multiple of outputs={outputs}: .* act\.Mean and act\.Readout any number"
    with pytest.raises(ValueError, match=message):
        port("round_robin").make_assignment(LIKE, experts, outputs, seeded())


# --- random owners


def owners(experts, outputs, batch=200, seed=0):
    """(batch, E), the output that each expert owns, after checking the weights of the assignment."""
    assignment = port("random_owners").make_assignment(LIKE[:1].expand(batch, -1), experts, outputs, seeded(seed))
    assert assignment.shape == (batch, outputs, experts)
    mine = (assignment > 0).double()
    assert (mine.sum(1) == 1).all()  # every expert owns one output
    assert_close(assignment, mine / mine.sum(-1, keepdim=True))
    return mine.argmax(1)


@pytest.mark.parametrize(("experts", "outputs"), [(4, 4), (7, 3), (64, 5), (5, 1)])
def test_outputs_have_equally_many_owners_up_to_one(experts, outputs):
    counts = torch.nn.functional.one_hot(owners(experts, outputs), outputs).sum(1)
    assert counts.min() == experts // outputs and counts.max() == -(-experts // outputs)


def test_owners_are_sampled_in_each_episode():
    owned = owners(4, 4)
    assert len(owned.unique(dim=0)) == 24  # all orders of 4 among 200 episodes
    assert torch.equal(owned, owners(4, 4)) and not torch.equal(owned, owners(4, 4, seed=1))


def test_an_output_is_the_mean_of_its_owners():
    made, y = port("random_owners"), outputs_of(5)
    assignment = made.make_assignment(LIKE, 5, 2, seeded())
    action, values = made(y, assignment, None), expert_outputs(made, y)
    for b in range(B):
        for d in range(2):
            assert_close(action[b, d], values[b, assignment[b, d] > 0].mean())


def test_random_owners_need_an_expert_for_each_output():
    with pytest.raises(ValueError, match=r"experts=3, want at least outputs=4: .* act\.Mean and act\.Readout"):
        port("random_owners").make_assignment(LIKE, 3, 4, seeded())


# --- named outputs


def named(experts, outputs, batch=200, seed=0):
    """Weights (batch, D, E) and names (batch, D, N) of an assignment, and the observed names (batch, E, N)."""
    made = port("named_outputs")
    assignment = made.make_assignment(LIKE[:1].expand(batch, -1), experts, outputs, seeded(seed))
    assert assignment.shape == (batch, outputs, experts + made.name_size)
    return *assignment.split([experts, made.name_size], -1), made.output_names(assignment, experts)


@pytest.mark.parametrize(("experts", "outputs"), [(4, 4), (7, 3), (5, 1), (3, 7), (1, 4)])
def test_named_outputs_have_equally_many_owners_up_to_one(experts, outputs):
    weights, _, _ = named(experts, outputs)
    mine = (weights > 0).double()
    assert_close(weights, mine / mine.sum(-1, keepdim=True).clamp_min(1))
    assert (mine.sum(1) == 1).all()
    counts = mine.sum(-1)
    assert counts.min() == experts // outputs and counts.max() == -(-experts // outputs)


def test_a_named_output_without_an_owner_is_0():
    made, y = port("named_outputs"), outputs_of(2)
    assignment = made.make_assignment(LIKE, 2, 5, seeded())
    action = made(y, assignment, None)
    assert ((action != 0).sum(-1) == 2).all()
    more = made.extend_assignment(assignment, LIKE, 40, seeded())
    assert more.isfinite().all() and ((more[..., :40] > 0).sum(-1) >= 1).all()


@pytest.mark.parametrize("outputs", [1, 6, 20])
def test_outputs_of_an_episode_have_different_names(outputs):
    _, names, _ = named(3, outputs)
    distance = torch.cdist(names, names) + 10 * torch.eye(outputs)
    assert distance.min() > 0.3
    assert len(names[:, 0].unique(dim=0)) > 15  # of 20, sampled in each episode


def test_a_name_is_sampled_with_a_probability_of_decay_times_that_of_the_one_before():
    made = port("named_outputs")
    assignment = made.make_assignment(LIKE[:1].expand(40_000, -1), 1, 1, seeded())
    angle = torch.atan2(assignment[:, 0, 2], assignment[:, 0, 6]) % (2 * torch.pi)  # frequency 1
    frequency = (angle * made.NUM_NAMES / (2 * torch.pi)).round().long().bincount(minlength=20) / 40_000
    expected = made.DECAY ** torch.arange(20)
    assert (frequency - expected / expected.sum()).abs().max() < 0.01
    assert frequency[0] > 1.15 * frequency[1] > 1.3 * frequency[2]


def test_which_of_the_outputs_has_a_frequent_name_is_random():
    _, names, _ = named(3, 2, batch=4_000)
    first = names[:, :, 5].gt(0.99).double().mean(0)  # the first name: angle 0 at frequency 1
    assert (first[0] - first[1]).abs() < 0.05 and first.min() > 0.1


def test_names_have_the_type_of_the_head():
    head, like = act.NamedOutputs(3, 2).bfloat16(), torch.zeros(2, 1, dtype=torch.bfloat16)
    assignment = head.make_assignment(like, 4, 2, seeded())
    assert head(torch.ones(2, 4, 3, dtype=like.dtype), assignment, None).dtype == like.dtype


def test_there_are_twenty_names_and_more_outputs_repeat_them():
    _, names, _ = named(3, 25, batch=1)
    assert len(names[0].round(decimals=9).unique(dim=0)) == 20


def test_an_expert_observes_the_name_of_its_output():
    weights, names, observed = named(7, 3)
    for b in range(5):
        for e in range(7):
            assert_close(observed[b, e], names[b, weights[b, :, e].argmax()])


def test_a_named_output_is_the_mean_of_its_owners():
    made, y = port("named_outputs"), outputs_of(5)
    assignment = made.make_assignment(LIKE, 5, 2, seeded())
    action, values = made(y, assignment, None), expert_outputs(made, y)
    for b in range(B):
        for d in range(2):
            assert_close(action[b, d], values[b, assignment[b, d, :5] > 0].mean())


def test_new_experts_observe_existing_names():
    made, rng = port("named_outputs"), seeded()
    before = made.make_assignment(LIKE, 4, 2, rng)
    after = made.extend_assignment(before, LIKE, 9, rng)
    assert torch.equal(after[..., 9:], before[..., 4:])  # the names
    assert torch.equal(after[..., :4] > 0, before[..., :4] > 0)
    assert ((after[..., :9] > 0).sum(1) == 1).all()
    assert torch.equal(made.output_names(after, 9)[:, :4], made.output_names(before, 4))


# --- readout


def test_readout_is_attention_by_a_learned_query_and_a_code():
    made, y = port("readout"), outputs_of(3)
    assignment = made.make_assignment(LIKE, 3, 2, seeded())
    action = made(y, assignment, None)
    for b in range(B):
        parts = made.key_value(y[b])  # (E, K + 1)
        for d in range(2):
            scores = parts[:, :-1] @ torch.cat([made.query, assignment[b, d]]) / 32**0.5
            assert_close(action[b, d], (scores.exp() / scores.exp().sum()) @ parts[:, -1])


def test_codes_of_readout_are_normal_and_sampled_from_the_generator():
    made, many = port("readout"), LIKE[:1].expand(500, -1)
    assignment = made.make_assignment(many, 3, 2, seeded())
    assert assignment.shape == (500, 2, made.code_size)
    assert_close(assignment.std(0), torch.ones_like(assignment[0]), atol=0.15, rtol=0)
    assert torch.equal(assignment, made.make_assignment(many, 3, 2, seeded()))
    assert not torch.equal(assignment, made.make_assignment(many, 3, 2, seeded(1)))


# --- added experts


@pytest.mark.parametrize("name", HEADS)
def test_an_extended_assignment_fits_the_new_number_of_experts(name):
    made, rng = port(name), seeded()
    assignment = made.extend_assignment(made.make_assignment(LIKE, 4, 2, rng), LIKE, 6, rng)
    assert made(outputs_of(6), assignment, None).shape == (B, 2)


def test_owners_keep_their_outputs_when_experts_are_added():
    made, rng = port("random_owners"), seeded()
    before = made.make_assignment(LIKE, 4, 2, rng)
    after = made.extend_assignment(before, LIKE, 9, rng)
    assert torch.equal(after[:, :, :4] > 0, before > 0)
    assert ((after > 0).sum(1) == 1).all()
    assert_close(after.sum(-1), torch.ones(B, 2, dtype=torch.float64))


def test_round_robin_refuses_new_experts_that_break_the_multiple():
    made = port("round_robin")
    with pytest.raises(ValueError, match="experts=5, want a multiple of outputs=2"):
        made.extend_assignment(made.make_assignment(LIKE, 4, 2, seeded()), LIKE, 5, seeded())


# --- sense


def test_broadcast_gives_all_experts_the_same_observation():
    obs = torch.randn(B, 3, generator=seeded())
    inputs = sense.Broadcast(3)(obs, 4, 2)
    assert inputs.shape == (B, 4, 3) and all(torch.equal(inputs[:, i], obs) for i in range(4))


def test_scaled_by_the_number_of_outputs_turns_a_mean_into_a_sum():
    guess, target = torch.randn(2, B, 5, generator=seeded())
    obs = 3 * (guess - target).square().mean(-1, keepdim=True)
    inputs = sense.Scaled(1, power=1, scale=1 / 3)(obs, 4, 5)
    assert_close(inputs, (guess - target).square().sum(-1).view(B, 1, 1).expand(B, 4, 1))


@pytest.mark.parametrize(("outputs", "factor"), [(1, 1), (4, 2), (9, 3)])
def test_scaled_by_the_root_of_the_number_of_outputs(outputs, factor):
    obs = torch.randn(B, 2, generator=seeded())
    assert_close(sense.Scaled(2)(obs, 3, outputs), factor * obs.unsqueeze(1).expand(B, 3, 2))


@pytest.mark.parametrize(("outputs", "factor"), [(1, 1), (3, 3), (9, 3)])
def test_scaled_counts_outputs_up_to_a_maximum(outputs, factor):
    obs = torch.randn(B, 2, generator=seeded())
    assert_close(sense.Scaled(2, power=1, max_outputs=3)(obs, 3, outputs), factor * obs.unsqueeze(1).expand(B, 3, 2))
    with pytest.raises(ValueError, match="max_outputs=0, want at least 1"):
        sense.Scaled(2, max_outputs=0)


def test_a_one_hot_symbol_selects_its_embedding():
    embedding = sense.Embedding(3, 5).double()
    inputs = embedding(torch.eye(3, dtype=torch.float64)[[2, 0]], 4, 2)
    assert torch.equal(inputs, embedding.linear.weight.T[[2, 0]].unsqueeze(1).expand(2, 4, 5))


def test_an_embedding_is_standard_normal_at_initialization():
    weights = sense.Embedding(30, 200).linear.weight
    assert abs(weights.std() - 1) < 0.05 and abs(weights.mean()) < 0.05


def test_an_embedding_of_size_zero_raises():
    with pytest.raises(ValueError, match="size=0, want at least 1"):
        sense.Embedding(3, 0)


def test_per_expert_gives_each_expert_its_row():
    obs = torch.randn(B, 4, 3, generator=seeded())
    assert torch.equal(sense.PerExpert(3)(obs, 4, 2), obs)


@pytest.mark.parametrize(
    ("made", "shape", "wanted"),
    [
        (sense.Broadcast(3), (B, 4), r"obs \(2, 4\), want \(batch, 3\): .*sense\.PerExpert takes one for each"),
        (sense.Broadcast(3), (B, 4, 3), r"obs \(2, 4, 3\), want \(batch, 3\)"),
        (sense.PerExpert(3), (B, 3), r"obs \(2, 3\), want \(batch, experts 4, 3\): .*sense\.Broadcast"),
        (sense.PerExpert(3), (B, 5, 3), r"obs \(2, 5, 3\), want \(batch, experts 4, 3\)"),
    ],
)
def test_an_observation_of_another_shape_raises(made, shape, wanted):
    with pytest.raises(ValueError, match=wanted):
        made(torch.zeros(shape), 4, 2)
