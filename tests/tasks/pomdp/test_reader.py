"""Files in the POMDP format: every form of an entry, and errors that name the place."""

import numpy as np
import pytest
from numpy.testing import assert_allclose

from tasks.pomdp.library import MODELS, load_model
from tasks.pomdp.reader import parse_pomdp, read_pomdp

HEAD = "observations: 2 states: a b values: reward actions: x y discount: 0.5 "
REST = "T: * identity O: * uniform "


def test_newlines_and_the_order_of_the_preamble_mean_nothing():
    one = parse_pomdp(HEAD + REST)
    other = parse_pomdp("discount : .5\nactions:x\ny #  no z\nstates:a b\nobservations:2\nT:*identity\nO:*\nuniform")
    assert one == other and one.discount == 0.5


@pytest.mark.parametrize(
    ("start", "want"),
    [
        ("", [1 / 3] * 3),
        ("start: uniform", [1 / 3] * 3),
        ("start: 0.2 0.3 0.5", [0.2, 0.3, 0.5]),
        ("start: b", [0, 1, 0]),
        ("start: 2", [0, 0, 1]),
        ("start include: a 2", [0.5, 0, 0.5]),
        ("start exclude: b", [0.5, 0, 0.5]),
    ],
)
def test_every_form_of_the_start(start, want):
    model = parse_pomdp(f"discount: 1 states: a b c actions: 1 observations: 1 {start} T: 0 identity O: 0 uniform")
    assert_allclose(model.start, want)


def test_every_form_of_a_transition():
    text = "discount: 1 states: a b actions: v w x y z observations: 1 start: b O: * uniform "
    text += "T: v uniform T: w identity T: x 0 1 1e0 0. T: y : * reset T: z : a uniform T: z : 1 +.25 0.75 "
    model = parse_pomdp(text + "T: v : a : b 1 T: v : a : a 0")  # the last entry holds
    want = [
        [[0, 1], [0.5, 0.5]], [[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, 1], [0, 1]], [[0.5, 0.5], [0.25, 0.75]],
    ]  # fmt: skip
    assert_allclose(model.transition, want)


def test_an_observation_is_indexed_by_the_end_state():
    model = parse_pomdp(HEAD + "T: * : * : b 1 O: x 1 0 0.25 0.75 O: y : * uniform O: y : b : 0 1 O: y : b : 1 0")
    assert_allclose(model.observation, [[[1, 0], [0.25, 0.75]], [[0.5, 0.5], [1, 0]]])


def test_rewards_mix_numbers_rows_matrices_and_stars():
    model = parse_pomdp(HEAD + REST + "R: * : * : * : * -1 R: x : a 1 2 3 4 R: x : a : b 5 6 R: 1 : b : * : 1 7e1")
    assert_allclose(model.reward[0], [[[1, 2], [5, 6]], [[-1, -1], [-1, -1]]])
    assert_allclose(model.reward[1], [[[-1, -1], [-1, -1]], [[-1, 70], [-1, 70]]])


def test_the_expected_reward_is_a_mean_over_transitions_and_observations():
    model = parse_pomdp(
        "discount: 1 states: 2 actions: 1 observations: 2 T: 0 .25 .75 .5 .5 O: 0 .1 .9 1 0 R: 0 : * 1 2 3 4"
    )
    want = [0.25 * (0.1 * 1 + 0.9 * 2) + 0.75 * 3, 0.5 * (0.1 * 1 + 0.9 * 2) + 0.5 * 3]
    assert_allclose(model.expected_reward, [want])


def test_costs_are_negative_rewards():
    text = HEAD + REST + "R: x : a : * : * 3"
    reward, cost = (parse_pomdp(text.replace("reward", word)).reward for word in ("reward", "cost"))
    assert_allclose(cost, -reward)
    assert reward[0, 0, 0, 0] == 3


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "line 1, column 1: got the end of the file, want the preamble first, in which 'discount' is missing"),
        ("discount 0.5", "line 1, column 10: got '0.5', want ':'"),
        ("discount: 2", "column 11: got '2', want a discount from 0 to 1"),
        ("values: money", "column 9: got 'money', want reward or cost"),
        ("states: 0", "column 9: got '0', want a whole number of states from 1 on"),
        ("states: a b a", "column 13: got 'a', want another name; two states have this one"),
        ("states: a\nactions: *", "line 2, column 10: got '*', want the number of actions, or their names"),
        ("states: 1000000000", "want at most 100000 states"),
        ("discount: 1 discount: 1", "column 13: got 'discount', want 'discount' once"),
        ("states: a 2b", "column 11: got '2b', want a number, or a name of letters"),
        (HEAD + "start: c", "got 'c', want state a, b, or a number from 0 to 1"),
        (HEAD + "start: 0.5 0.6", "want probabilities that sum to 1 within 1e-05, their sum is 1.1"),
        (HEAD + "start exclude: a b", "want at least one state that is not excluded"),
        (HEAD + "\nP: x", "line 2, column 1: got 'P', want an entry that begins with T, O or R"),
        (HEAD + "\nT: z", "line 2, column 4: got 'z', want action x, y, or a number from 0 to 1"),
        (HEAD + "\nT: x\n0.5 0.5\n1 O", "line 4, column 3: got 'O', want number 4 of 4: T with 1 indices wants a"),
        (HEAD + "\nT: x 1 0 0 1 0", "column 14: got '0', want an entry that begins with T, O or R; the entry before"),
        (HEAD + "\nT: x : a identity", "T with 2 indices wants a row of 2, or uniform"),
        (HEAD + "\nR: x 1", "line 2, column 6: got '1', want ':', as in R: ACTION : STATE"),
        (HEAD + "\nT: x : a : b", "got the end of the file, want number 1 of 1"),
        (HEAD + "\nR: x : a : * : * 1e999", "column 18: got '1e999', want a number of at most"),
        (HEAD + "\nO: * uniform\nT: x 1 0 0 .9 T: y uniform", "line 3: T: x : b sums to 0.9, want 1 within 1e-05"),
        (HEAD + REST + "\nO: y : a -1 2", "line 2: O: y : a has the probability -1, want 0 to 1"),
        (HEAD + "O: * uniform T: x uniform", "text: T: y : a sums to 0, want 1 within 1e-05; no entry sets it"),
    ],
)  # fmt: skip
def test_an_error_names_the_place_and_what_is_wanted(text, message):
    with pytest.raises(ValueError) as error:
        parse_pomdp(text)
    assert message in str(error.value)


def test_a_row_of_thirds_sums_to_one():
    assert parse_pomdp("discount: 1 states: 3 actions: 1 observations: 1 T: 0 : * .333333 .333333 .333333 O: 0 uniform")


def test_a_table_that_does_not_fit_into_memory_is_refused():
    text = "discount: 1 states: 100000 actions: 1 observations: 1 T: 0 identity O: 0 uniform"
    with pytest.raises(ValueError, match=r"the table T .* would take 74\.5 GiB"):
        parse_pomdp(text)


def test_a_file_that_is_no_text_is_refused(tmp_path):
    (tmp_path / "a.POMDP").write_bytes(b"discount: \xff")
    with pytest.raises(ValueError, match=r"a\.POMDP: byte 10 is no UTF-8"):
        read_pomdp(tmp_path / "a.POMDP")


@pytest.mark.parametrize("name", MODELS)
def test_the_classics_are_part_of_the_package(name):
    model = load_model(name)
    assert np.isfinite(model.expected_reward).all() and 0 < model.discount < 1


def test_a_name_that_is_neither_a_classic_nor_a_file_is_refused():
    with pytest.raises(ValueError, match="model='tiger', want a file in the POMDP format, or one of 1d, 4x3"):
        load_model("tiger")
