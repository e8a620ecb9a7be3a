"""Simulated stories of task 3: the answers follow from the sentences, and the stories look like the published ones."""

import os
import re
from collections import Counter
from pathlib import Path

import pytest

from badger import BAbI
from tasks.babi.files import ROOT
from tasks.babi.parse import parse_stories
from tasks.babi.simulator import simulate_stories, simulate_text
from tiny_babi import write

TEXT = simulate_text(60, seed=1)
PUBLISHED = Path(os.environ.get("BADGER_DATA", "none")) / "babi" / ROOT / "en"
TRAIN = next(PUBLISHED.glob("qa3_*_train.txt"), None)
SENTENCE = re.compile(r"(\w+) (moved|journeyed|went|went back|travelled|[\w ]+?)( to)? the (\w+)( there)?\.")
QUESTION = re.compile(r"Where was the (\w+) before the (\w+)\? \t(\w+)\t(\d+) (\d+) (\d+)")
DROPS = ("dropped", "left", "discarded", "put down")


def by_story(text):
    """The lines of each story, without their numbers."""
    found = []
    for line in text.splitlines():
        number, content = line.split(" ", 1)
        found = [*found, []] if number == "1" else found
        found[-1].append(content)
        assert number == str(len(found[-1]))
    return found


def rooms_of_objects(lines):
    """A plain reader: each question with all rooms that are known of its object, in order, and the lines so far."""
    place, holder, rooms = {}, {}, {}
    for number, line in enumerate(lines, 1):
        if asked := QUESTION.fullmatch(line):
            yield asked, list(rooms[asked[1]]), lines[:number]
            continue
        person, verb, to, what, _ = SENTENCE.fullmatch(line).groups()
        if to:
            assert place.get(person) != what  # nobody goes where he is
            place[person] = what
            carried = [thing for thing, by in holder.items() if by == person]
        elif verb in DROPS:
            assert holder.pop(what) == person  # nobody drops what he has not
            carried = []
        else:
            assert what not in holder  # nobody takes what another one has
            lies = rooms.get(what)
            assert not lies or person not in place or lies[-1] == place[person]  # nor what is elsewhere
            holder[what] = person
            carried = [what] if person in place else []
        for thing in carried:
            known = rooms.setdefault(thing, [])
            known += [place[person]] if known[-1:] != [place[person]] else []


def test_every_answer_follows_from_the_sentences():
    answers = [(asked, rooms) for lines in by_story(TEXT) for asked, rooms, _ in rooms_of_objects(lines)]
    assert len(answers) == 300
    for asked, rooms in answers:
        last = max(i for i, room in enumerate(rooms) if room == asked[2])
        assert asked[3] == rooms[last - 1]


def test_the_three_supporting_facts_are_those_of_the_answer():
    for lines in by_story(TEXT):
        for asked, _, before in rooms_of_objects(lines):
            handled, to, come_from = (before[int(number) - 1] for number in asked.groups()[3:])
            assert f"the {asked[1]}" in handled and f" to the {asked[2]}." in to and f" to the {asked[3]}." in come_from
            assert len({fact.split(" ")[0] for fact in (handled, to, come_from)}) == 1  # of one person


def test_a_seed_gives_its_stories_again_and_another_one_gives_others():
    assert simulate_text(2, seed=1) == simulate_text(2, seed=1) != simulate_text(2, seed=2)
    assert TEXT.startswith(simulate_text(2, seed=1))


def test_questions_that_are_held_out_are_removed_and_counted():
    stories = parse_stories(TEXT, "simulated")
    held_out = [stories[0][1], stories[2][3]]
    found, removed = simulate_stories(300, seed=1, exclude=held_out)
    repeated = sum(question in held_out for story in stories for question in story)
    assert removed == repeated >= 2 and sum(map(len, found)) == 300 - removed
    assert not {question for story in found for question in story} & set(held_out)


def test_simulated_questions_are_added_to_the_training_split_alone_without_those_of_the_test_file(tmp_path):
    folder = write(tmp_path, tasks=(3,)) / "en-valid-10k"
    (folder / "qa3_test.txt").write_text(simulate_text(1, seed=0))
    plain, more = (BAbI(2_000, (3,), data_dir=tmp_path, simulated=count) for count in (0, 20))
    with pytest.warns(UserWarning, match="15 of its questions are simulated; 5 that are in the test file were"):
        assert more.num_episodes == plain.num_episodes + 15
    assert more.evaluation_task.num_episodes == plain.evaluation_task.num_episodes
    assert any("Report error_task_3 separately" in note for note in more.notes) and not more.evaluation_task.notes


@pytest.mark.parametrize(
    ("tasks", "simulated", "message"),
    [((3,), 7, "simulated=7, want a multiple of 5"), ((3,), -5, "simulated=-5"), ((1, 2), 5, "simulated=5, want 0")],
)
def test_numbers_that_cannot_be_are_refused(tasks, simulated, message):
    with pytest.raises(ValueError, match=message):
        BAbI(100, tasks, simulated=simulated)


def test_without_the_test_file_nothing_is_simulated(tmp_path):
    folder = write(tmp_path, tasks=(3,)) / "en-valid-10k"
    (folder / "qa3_test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"qa3_test.txt not in .* so that none of its questions is simulated"):
        _ = BAbI(100, (3,), data_dir=tmp_path, simulated=5).num_episodes


published = pytest.mark.skipif(TRAIN is None, reason="the files of bAbI are not in $BADGER_DATA")


def shares(text, pattern):
    """How often the first group of a pattern has each value."""
    found = Counter(re.findall(pattern, text))
    return {word: count / found.total() for word, count in found.items()}


@published
def test_the_vocabulary_is_that_of_the_published_training_file():
    assert set(re.findall(r"[A-Za-z]+", TEXT)) == set(re.findall(r"[A-Za-z]+", TRAIN.read_text()))


@published
@pytest.mark.parametrize(
    ("pattern", "tolerance"),
    [
        (r"\t(\w+)\t", 0.05),  # answers; of 1,000 questions each share has a standard error of .012
        (r"before the (\w+)\?", 0.05),
        (r"Where was the (\w+)", 0.05),
        (r"\d (\w+) [^W\n]*\.", 0.02),  # who acts
        (
            r"(got|took|grabbed|picked up|dropped|left|discarded|put down|went back|went to|moved|journeyed|travelled)",
            0.02,
        ),
        (r"(there)?\.\n", 0.02),
    ],
)
def test_answers_and_sentences_are_as_frequent_as_in_the_published_training_file(pattern, tolerance):
    ours, theirs = shares(simulate_text(400, seed=2), pattern), shares(TRAIN.read_text(), pattern)
    assert ours.keys() == theirs.keys()
    for word, share in theirs.items():
        assert ours[word] == pytest.approx(share, abs=tolerance)


@published
def test_stories_are_as_long_as_the_published_ones():
    ours, theirs = (text.count("\n") / text.count("\n1 ") for text in (simulate_text(400, seed=2), TRAIN.read_text()))
    assert ours == pytest.approx(theirs, rel=0.12)
