"""The ports: what experts sense, and how they make one action together, worked out by hand."""

import pytest
import torch
from torch.testing import assert_close

from badger import ACTS, act, sense
from toys import seeded

B, Y = 2, 3
LIKE = torch.zeros(B, 1, dtype=torch.float64)
HERE = torch.tensor([[True, False, True, True]]).expand(B, -1)  # expert 1 of 4 is absent


def outputs_of(experts, batch=B):
    return torch.randn(batch, experts, Y, generator=seeded(1), dtype=torch.float64)


def port(name, outputs=2, seed=0):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ACTS[name](Y, outputs).double()


def said(made, y):
    """One number an expert: what `Each` and `RandomOwners` average."""
    return made.linear(y).squeeze(-1)


@pytest.mark.parametrize("name", ACTS)
def test_the_absent_have_no_say(name):
    made, y = port(name), outputs_of(4).requires_grad_()
    address = made.make_assignment(LIKE, 4, 2, seeded())
    action = made(y, address, HERE)
    (slope,) = torch.autograd.grad(action.square().sum(), y)
    assert not slope[:, 1].any() and slope[:, [0, 2, 3]].any(-1).all()
    louder = y.detach().clone()
    louder[:, 1] += 100
    assert torch.equal(made(louder, address, HERE), action)


@pytest.mark.parametrize("name", ACTS)
def test_where_nobody_is_left_the_action_is_zero(name):
    made = port(name)
    some = torch.tensor([[False] * 4, [True] * 4])
    action = made(outputs_of(4), made.make_assignment(LIKE, 4, 2, seeded()), some)
    assert not action[0].any() and action[1].all()


@pytest.mark.parametrize("name", ["mean", "readout"])
def test_the_present_act_as_if_the_others_had_never_been(name):
    made, y = port(name), outputs_of(4)
    address = made.make_assignment(LIKE, 4, 2, seeded())
    assert_close(made(y, address, HERE), made(y[:, [0, 2, 3]], address, None))


# --- a value beside the action


def valued(name):
    made = act.WithCritic(port(name)).double()
    torch.nn.init.constant_(made.critic.linear.weight, 0.5)
    return made


@pytest.mark.parametrize("name", ACTS)
@pytest.mark.parametrize("present", [None, HERE])
def test_a_value_is_put_out_behind_the_action_of_the_port(name, present):
    made, y = valued(name), outputs_of(4)
    address = made.make_assignment(LIKE, 4, 2, seeded())
    action, value = made(y, address, present).split([2, 1], -1)
    assert torch.equal(action, made.base(y, address, present))
    heard = y if present is None else y[:, [0, 2, 3]]
    assert_close(value.squeeze(-1), 0.5 * heard.mean(1).sum(-1))


@pytest.mark.parametrize("name", ACTS)
def test_names_addresses_and_newcomers_are_those_of_the_port(name):
    made, plain = valued(name), port(name)
    assert (made.input_size, made.outputs, made.name_size) == (Y, 2, plain.name_size)
    for each in (made, plain):
        each.told = each.make_assignment(LIKE, 4, 2, seeded())
        each.after = each.extend_assignment(each.told, LIKE, 6, seeded())
        each.called = each.output_names(each.after, 6)
    for ours, theirs in zip((made.told, made.after, made.called), (plain.told, plain.after, plain.called), strict=True):
        assert (ours is None and theirs is None) or torch.equal(ours, theirs)


def test_nothing_is_expected_at_first():
    assert not act.WithCritic(port("mean")).double()(outputs_of(4).double(), None, None)[:, -1].any()


# --- mean


def test_mean_is_the_mean_of_a_linear_map():
    made, y = port("mean"), outputs_of(3)
    expected = torch.stack([made.linear(y[:, i]) for i in range(3)]).mean(0)
    assert_close(made(y, None, None), expected)


def test_mean_has_a_fixed_number_of_outputs():
    with pytest.raises(ValueError, match=r"outputs=3, want 2: act\.Mean .* act\.Owners and act\.Readout"):
        port("mean").make_assignment(LIKE, 4, 3, seeded())


# --- each


def test_each_expert_makes_the_output_of_its_number_modulo_the_outputs():
    made, y = port("each"), outputs_of(6)
    words = said(made, y)
    action = made(y, made.make_assignment(LIKE, 6, 2, seeded()), None)
    assert_close(action, torch.stack([words[:, 0::2].mean(1), words[:, 1::2].mean(1)], 1))


def test_the_share_of_an_absent_expert_goes_to_the_others_of_its_output():
    made, y = port("each"), outputs_of(4)
    words = said(made, y)
    action = made(y, made.make_assignment(LIKE, 4, 2, seeded()), HERE)
    assert_close(action, torch.stack([words[:, [0, 2]].mean(1), words[:, 3]], 1))


def test_an_output_that_nobody_is_left_to_make_is_zero():
    made, y = port("each", 4), outputs_of(4)
    action = made(y, made.make_assignment(LIKE, 4, 4, seeded()), HERE)
    assert not action[:, 1].any() and action[:, [0, 2, 3]].all()


@pytest.mark.parametrize(("experts", "outputs"), [(3, 2), (1, 2), (3, 4)])
def test_each_wants_a_multiple_of_the_outputs(experts, outputs):
    wrong = rf"experts={experts}, want a multiple of outputs={outputs}: .* act\.Mean and act\.Readout any number"
    with pytest.raises(ValueError, match=wrong):
        port("each").make_assignment(LIKE, experts, outputs, seeded())


# --- owners


def owners(experts, outputs, batch=200, seed=0):
    """(batch, E), the output that each expert owns, after checking that the address is made of fair shares."""
    address = port("owners").make_assignment(LIKE[:1].expand(batch, -1), experts, outputs, seeded(seed))
    assert address.shape == (batch, outputs, experts)
    mine = (address > 0).double()
    assert (mine.sum(1) == 1).all()  # every expert owns one output
    assert_close(address, mine / mine.sum(-1, keepdim=True))
    return mine.argmax(1)


@pytest.mark.parametrize(("experts", "outputs"), [(4, 4), (7, 3), (64, 5), (5, 1)])
def test_all_outputs_are_owned_and_almost_equally_often(experts, outputs):
    counts = torch.nn.functional.one_hot(owners(experts, outputs), outputs).sum(1)
    assert counts.min() == experts // outputs and counts.max() == -(-experts // outputs)


def test_owners_are_drawn_anew_for_each_episode():
    owned = owners(4, 4)
    assert len(owned.unique(dim=0)) == 24  # all orders of 4 among 200 episodes
    assert torch.equal(owned, owners(4, 4)) and not torch.equal(owned, owners(4, 4, seed=1))


def test_an_output_is_the_mean_of_its_owners():
    made, y = port("owners"), outputs_of(5)
    address = made.make_assignment(LIKE, 5, 2, seeded())
    action, words = made(y, address, None), said(made, y)
    for b in range(B):
        for d in range(2):
            assert_close(action[b, d], words[b, address[b, d] > 0].mean())


def test_owners_want_an_expert_for_each_output():
    with pytest.raises(ValueError, match=r"experts=3, want at least outputs=4: .* act\.Mean and act\.Readout"):
        port("owners").make_assignment(LIKE, 3, 4, seeded())


# --- named


def named(experts, outputs, batch=200, seed=0):
    """Shares (batch, D, E) and names (batch, D, N) of an address, and what each expert is told (batch, E, N)."""
    made = port("named")
    address = made.make_assignment(LIKE[:1].expand(batch, -1), experts, outputs, seeded(seed))
    assert address.shape == (batch, outputs, experts + made.name_size)
    return *address.split([experts, made.name_size], -1), made.output_names(address, experts)


@pytest.mark.parametrize(("experts", "outputs"), [(4, 4), (7, 3), (5, 1), (3, 7), (1, 4)])
def test_named_outputs_are_shared_out_fairly_and_all_are_owned(experts, outputs):
    shares, _, _ = named(experts, outputs)
    mine = (shares > 0).double()
    assert_close(shares, mine / mine.sum(-1, keepdim=True))
    for counts, total in ((mine.sum(-1), experts / outputs), (mine.sum(1), outputs / experts)):
        assert counts.min() == max(1, int(total)) and counts.max() == max(1, -(-total // 1))


@pytest.mark.parametrize("outputs", [1, 6, 20])
def test_outputs_of_an_episode_have_different_names(outputs):
    _, names, _ = named(3, outputs)
    apart = torch.cdist(names, names) + 10 * torch.eye(outputs)
    assert apart.min() > 0.3
    assert len(names[:, 0].unique(dim=0)) > 15  # of 20, drawn anew for each episode


def test_there_are_twenty_names_and_more_outputs_share_them():
    _, names, _ = named(3, 25, batch=1)
    assert len(names[0].round(decimals=9).unique(dim=0)) == 20


def test_an_expert_is_told_the_name_of_what_it_makes():
    shares, names, told = named(7, 3)
    for b in range(5):
        for e in range(7):
            assert_close(told[b, e], names[b, shares[b, :, e].argmax()])


def test_an_expert_with_several_outputs_is_told_the_first_name():
    shares, names, told = named(2, 5)
    for b in range(5):
        for e in range(2):
            assert_close(told[b, e], names[b, shares[b, :, e] > 0][0])


def test_a_named_output_is_the_mean_of_those_who_make_it():
    made, y = port("named"), outputs_of(5)
    address = made.make_assignment(LIKE, 5, 2, seeded())
    action, words = made(y, address, None), said(made, y)
    for b in range(B):
        for d in range(2):
            assert_close(action[b, d], words[b, address[b, d, :5] > 0].mean())


def test_newcomers_learn_the_names_that_there_are():
    made, rng = port("named"), seeded()
    before = made.make_assignment(LIKE, 4, 2, rng)
    after = made.extend_assignment(before, LIKE, 9, rng)
    assert torch.equal(after[..., 9:], before[..., 4:])  # the names
    assert torch.equal(after[..., :4] > 0, before[..., :4] > 0)
    assert ((after[..., :9] > 0).sum(1) == 1).all()
    assert torch.equal(made.output_names(after, 9)[:, :4], made.output_names(before, 4))


# --- readout


def test_readout_is_attention_by_the_stub_and_the_address():
    made, y = port("readout"), outputs_of(3)
    address = made.make_assignment(LIKE, 3, 2, seeded())
    action = made(y, address, None)
    for b in range(B):
        parts = made.key_value(y[b])  # (E, K + 1)
        for d in range(2):
            scores = parts[:, :-1] @ torch.cat([made.stub, address[b, d]]) / 32**0.5
            assert_close(action[b, d], (scores.exp() / scores.exp().sum()) @ parts[:, -1])


def test_addresses_of_readout_are_normal_and_drawn_from_the_generator():
    made, many = port("readout"), LIKE[:1].expand(500, -1)
    address = made.make_assignment(many, 3, 2, seeded())
    assert address.shape == (500, 2, made.address_size)
    assert_close(address.std(0), torch.ones_like(address[0]), atol=0.15, rtol=0)
    assert torch.equal(address, made.make_assignment(many, 3, 2, seeded()))
    assert not torch.equal(address, made.make_assignment(many, 3, 2, seeded(1)))


# --- newcomers


@pytest.mark.parametrize("name", ACTS)
def test_an_address_after_newcomers_fits_them(name):
    made, rng = port(name), seeded()
    address = made.extend_assignment(made.make_assignment(LIKE, 4, 2, rng), LIKE, 6, rng)
    assert made(outputs_of(6), address, None).shape == (B, 2)


def test_who_owned_an_output_keeps_it_when_others_join():
    made, rng = port("owners"), seeded()
    before = made.make_assignment(LIKE, 4, 2, rng)
    after = made.extend_assignment(before, LIKE, 9, rng)
    assert torch.equal(after[:, :, :4] > 0, before > 0)
    assert ((after > 0).sum(1) == 1).all()
    assert_close(after.sum(-1), torch.ones(B, 2, dtype=torch.float64))


def test_each_refuses_newcomers_that_break_the_multiple():
    made = port("each")
    with pytest.raises(ValueError, match="experts=5, want a multiple of outputs=2"):
        made.extend_assignment(made.make_assignment(LIKE, 4, 2, seeded()), LIKE, 5, seeded())


# --- sense


def test_broadcast_shows_the_same_to_all():
    obs = torch.randn(B, 3, generator=seeded())
    seen = sense.Broadcast(3)(obs, 4, 2)
    assert seen.shape == (B, 4, 3) and all(torch.equal(seen[:, i], obs) for i in range(4))


def test_a_mean_over_the_outputs_may_be_sensed_as_their_total():
    guess, target = torch.randn(2, B, 5, generator=seeded())
    told = 3 * (guess - target).square().mean(-1, keepdim=True)
    seen = sense.Scaled(1, power=1, scale=1 / 3)(told, 4, 5)
    assert_close(seen, (guess - target).square().sum(-1).view(B, 1, 1).expand(B, 4, 1))


@pytest.mark.parametrize(("outputs", "factor"), [(1, 1), (4, 2), (9, 3)])
def test_scaled_by_the_root_of_the_number_of_outputs(outputs, factor):
    obs = torch.randn(B, 2, generator=seeded())
    assert_close(sense.Scaled(2)(obs, 3, outputs), factor * obs.unsqueeze(1).expand(B, 3, 2))


def test_a_symbol_is_sensed_as_the_numbers_of_its_own():
    embedding = sense.Embedding(3, 5).double()
    seen = embedding(torch.eye(3, dtype=torch.float64)[[2, 0]], 4, 2)
    assert torch.equal(seen, embedding.linear.weight.T[[2, 0]].unsqueeze(1).expand(2, 4, 5))


def test_an_embedding_begins_standard_normal():
    weights = sense.Embedding(30, 200).linear.weight
    assert abs(weights.std() - 1) < 0.05 and abs(weights.mean()) < 0.05


def test_an_embedding_has_numbers():
    with pytest.raises(ValueError, match="size=0, want at least 1"):
        sense.Embedding(3, 0)


def test_each_expert_senses_its_own_row():
    obs = torch.randn(B, 4, 3, generator=seeded())
    assert torch.equal(sense.PerExpert(3)(obs, 4, 2), obs)


@pytest.mark.parametrize(
    ("made", "shape", "wanted"),
    [
        (sense.Broadcast(3), (B, 4), r"obs \(2, 4\), want \(batch, 3\): .*sense\.Each takes one for each"),
        (sense.Broadcast(3), (B, 4, 3), r"obs \(2, 4, 3\), want \(batch, 3\)"),
        (sense.PerExpert(3), (B, 3), r"obs \(2, 3\), want \(batch, experts 4, 3\): .*sense\.Broadcast"),
        (sense.PerExpert(3), (B, 5, 3), r"obs \(2, 5, 3\), want \(batch, experts 4, 3\)"),
    ],
)
def test_an_observation_of_another_shape_is_refused(made, shape, wanted):
    with pytest.raises(ValueError, match=wanted):
        made(torch.zeros(shape), 4, 2)
