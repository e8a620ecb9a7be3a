"""Files of bAbI: search order, substitutes for missing files, and format errors; without a network."""

import io
import re
import tarfile
import warnings

import pytest

from badger import BAbI
from tasks import PreviousActionReward
from tasks.babi import files as babi_files
from tasks.babi.files import ARCHIVE, BABI, ROOT
from tasks.babi.parse import WORDS, parse_stories
from tiny_babi import by_hand, text, write

SHA256 = "f7f0bee187efca0d81c3daac1b162cda4eb7f9505dee5ad6846eabbed3dbf92e"


def size(data_dir=None, tasks=(1, 2), **options):
    return BAbI(100, tasks, data_dir=data_dir, **options).num_episodes


def asked(folder, tasks=(1, 2), part="train", inside="en-valid-10k"):
    return sum(len(by_hand(folder / inside / f"qa{task}_{part}.txt")) for task in tasks)


def pack(folder, to):
    """The archive of a folder, with others beside it."""
    with tarfile.open(to / ARCHIVE, "w:gz") as tar:
        tar.add(folder, ROOT)
        other = tarfile.TarInfo(f"{ROOT}/hn/qa1_train.txt")
        tar.addfile(other, io.BytesIO())
    return to


# --- where


@pytest.mark.parametrize("inside", ["", ROOT])
def test_files_lie_in_a_folder_or_in_that_of_the_archive_s_name(inside, nowhere, tmp_path):
    folder = write(tmp_path / inside)
    assert size(tmp_path) == asked(folder) and size(str(tmp_path), split="test") == asked(folder, part="test")
    assert not nowhere


@pytest.mark.parametrize("inside", ["", ROOT, "babi", f"babi/{ROOT}"])
def test_files_are_found_in_the_environment_variable(inside, nowhere, monkeypatch, tmp_path):
    folder = write(tmp_path / inside, tasks=(1, 2))
    monkeypatch.setenv("BADGER_DATA", str(tmp_path))
    assert size() == asked(folder) and not nowhere


def test_the_archive_may_lie_packed_in_a_folder(nowhere, tmp_path):
    folder = write(tmp_path / "files")
    assert size(pack(folder, tmp_path)) == asked(folder) and not nowhere


def test_another_folder_of_the_archive_can_be_selected(nowhere, tmp_path):
    write(tmp_path, tasks=(1, 2))
    write(tmp_path, "en-valid", tasks=(1, 2), stories={"train": 1, "valid": 1, "test": 1})
    assert size(tmp_path, folder="en-valid") == asked(tmp_path, inside="en-valid") < asked(tmp_path)


def test_what_lies_nowhere_is_fetched_by_its_checksum(nowhere, internet, tmp_path):
    folder = write(tmp_path / "files")
    first, second = (f"{mirror}{ARCHIVE}" for mirror in BABI.mirrors)
    held = {first: ValueError("another checksum"), second: pack(folder, tmp_path) / ARCHIVE}
    got = internet(held, tmp_path / "cache")
    assert size() == asked(folder)
    place = str(tmp_path / "cache" / "badger-agents" / "babi" / ARCHIVE)
    assert got == [(url, f"sha256:{SHA256}", place) for url in (first, second)]


def test_an_error_without_files_and_network_names_the_files(nowhere, tmp_path):
    with pytest.raises(FileNotFoundError, match=f"neither en-valid-10k/qa1_train.txt nor {ROOT}/en-") as said:
        size(tasks=(1,))
    assert f"{ARCHIVE}  sha256 {SHA256}" in str(said.value) and "set data_dir or $BADGER_DATA to it" in str(said.value)
    with pytest.raises(FileNotFoundError, match=f"neither en-valid-10k/qa1_train.txt .*{ARCHIVE} not in {tmp_path}"):
        size(tmp_path)


@pytest.mark.parametrize("harm", [lambda held: held[: len(held) // 2], lambda held: b"no" + held[2:]])
def test_an_archive_that_is_cut_or_foreign_is_refused_by_name(harm, nowhere, tmp_path):
    path = pack(write(tmp_path / "files"), tmp_path) / ARCHIVE
    path.write_bytes(harm(path.read_bytes()))
    with pytest.raises(ValueError, match=f"{ARCHIVE} is not a complete tar.gz file"):
        size(tmp_path)


# --- what stands for a missing file


def test_a_missing_file_is_named_and_another_one_not_taken_for_it(nowhere, tmp_path):
    write(tmp_path, tasks=(1, 2))
    (tmp_path / "en-valid-10k" / "qa2_train.txt").unlink()
    for split in ("train", "train+validation"):
        with pytest.raises(FileNotFoundError, match=f"^en-valid-10k/qa2_train.txt not in {tmp_path}: put it there"):
            size(tmp_path, split=split)
    assert size(tmp_path, tasks=(1,)) == asked(tmp_path, (1,))
    assert size(tmp_path, split="validation") == asked(tmp_path, part="valid")


@pytest.fixture
def scarce(tmp_path):
    """Task 3 lacks its training file; 12 stories lie in `en`, and 11 for validation, of which 3 are the same."""
    write(tmp_path, tasks=(1, 3))
    (tmp_path / "en-valid-10k" / "qa3_train.txt").unlink()
    (tmp_path / "en").mkdir()
    (tmp_path / "en" / "qa3_three-supporting-facts_train.txt").write_text(text(3, "en", 12))
    (tmp_path / "en-valid-10k" / "qa3_valid.txt").write_text(text(3, "en", 3) + text(3, "other", 8))
    return tmp_path


def counted(results):
    """Questions of a text."""
    return results.count("\t") // 2


def test_a_missing_training_file_is_replaced_by_the_distinct_stories_of_others_if_asked_to(nowhere, scarce):
    whole, last = counted(text(3, "en", 12) + text(3, "other", 8)), counted(text(3, "other", 8))
    last -= counted(text(3, "other", 6))  # 20 distinct stories, of which 2 are for validation
    for split, questions in {"train": whole - last, "validation": last, "train+validation": whole}.items():
        message = f"task 3: en-valid-10k/qa3_train.txt is missing; the {questions} questions of split='{split}' are "
        with pytest.warns(UserWarning, match=message.replace("+", r"\+") + ".*Report error_task_3 separately"):
            assert size(scarce, (3,), split=split, substitute=True) == questions
    with pytest.raises(FileNotFoundError, match=r"qa3_train\.txt not in .*substitute=True"):
        size(scarce, (3,))


def test_a_substituted_training_file_is_in_the_notes(nowhere, scarce):
    task = BAbI(100, (1, 3), data_dir=scarce, substitute=True)
    with pytest.warns(UserWarning, match="en-valid-10k/qa3_train.txt is missing") as said:
        assert PreviousActionReward(task).notes == task.notes == [str(said[0].message)]
    assert "Report error_task_3 separately" in task.notes[0]
    assert BAbI(100, (1,), data_dir=scarce, substitute=True).notes == []


def test_a_missing_file_without_substitute_has_no_such_advice(nowhere, scarce):
    (scarce / "en-valid-10k" / "qa3_test.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"qa3_test\.txt not in .*leave 3 out of tasks$"):
        size(scarce, (3,), split="test", substitute=True)


def test_existing_files_and_test_files_are_not_substituted(nowhere, scarce):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size(scarce, (1,), substitute=True) == asked(scarce, (1,))
        assert size(scarce, (1, 3), split="test", substitute=True) == asked(scarce, (1, 3), "test")


def test_a_substitute_that_is_too_little_is_refused(nowhere, scarce):
    (scarce / "en" / "qa3_three-supporting-facts_train.txt").unlink()
    (scarce / "en-valid-10k" / "qa3_valid.txt").write_text(text(3, "en", 9))
    with pytest.raises(FileNotFoundError, match=r"task 3 has 9 stories in .*, none of them for split='validation'"):
        size(scarce, (3,), split="validation", substitute=True)


# --- the format


def test_sentences_are_numbers_of_words_in_lower_case():
    (one,) = parse_stories("1 Mary moved to the Office.\n2 Where is Mary? \toffice\t1\n", "it")
    read = [(*WORDS, "-")[number] for number in one[0].inputs]
    assert (
        read == ["mary", "moved", "to", "the", "office", ".", "where", "is", "mary", "?", "-"]
        and WORDS[one[0].answer[0]] == "office"
    )


GOOD = "1 Mary moved to the office.\n2 Where is Mary? \toffice\t1\n"


@pytest.mark.parametrize(
    ("held", "message"),
    [
        ("", "line 0: want a question at the end of the last story"),
        (GOOD[:-1], "line 2: no line break at the end, so the file is truncated"),
        (GOOD[:-12], "line 2: no line break at the end, so the file is truncated"),
        (GOOD + "1 Mary moved to the office.\n", "line 3: want a question at the end of the last story"),
        (GOOD + "2 Mary left.\n", "line 3: starts with '2', want 3 or 1, which starts a story"),
        ("2" + GOOD[1:], "line 1: starts with '2', want 1, which starts a story"),
        ("<html>\n" + GOOD, "line 1: starts with '<html>', want 1, which"),
        (GOOD + "\n", "line 3: starts with '', want 3 or 1, which"),
        ("1 Mary moved\n", "line 1: 'Mary moved', want a sentence that ends with '.'"),
        ("1 Where is Mary?\n", "line 1: 'Where is Mary\\?', want a sentence that ends with '.'"),
        ("1 Mary left.\tno\t1\n", "line 1: 'Mary left.', want a sentence that ends with '\\?'"),
        ("1 Where is Mary?\toffice\n", "line 1: want question, answer and facts .*\\['office'\\]"),
        ("1 Where is Mary?\t\t1\n", "line 1: want question, answer and facts"),
        ("1 Where is Mary?\toffice, milk\t1\n", "line 1: ' milk', want one of the 158 words"),
        (GOOD + "1 Where is Mallory?\toffice\t1\n", "line 3: 'mallory', want one of the 158 words"),
        (GOOD + "1 Where is Mary?\tmars\t1\n", "line 3: 'mars', want one of the 158 words"),
    ],
)
def test_format_errors_name_file_and_line(held, message, nowhere, tmp_path):
    write(tmp_path, tasks=(1, 2))
    path = tmp_path / "en-valid-10k" / "qa2_train.txt"
    path.write_text(held)
    with pytest.raises(ValueError, match=f"^{path}, {message}"):
        size(tmp_path)


def test_a_file_that_is_no_text_is_refused_by_name(nowhere, tmp_path):
    write(tmp_path, tasks=(1,))
    path = tmp_path / "en-valid-10k" / "qa1_train.txt"
    held = path.read_bytes().split(b"\n")
    path.write_bytes(b"\n".join([*held[:2], b"\xff\xfe", *held[2:]]))
    with pytest.raises(ValueError, match=f"^{path}, line 3: not ASCII"):
        size(tmp_path, (1,))


def test_a_truncated_file_is_warned_of_with_its_line(nowhere, monkeypatch, tmp_path):
    count = asked(write(tmp_path / "whole", tasks=(1,)), (1,))
    monkeypatch.setattr(babi_files, "PUBLISHED", {"en-valid-10k": {"train": count}})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert size(tmp_path / "whole", (1,)) == count
    path = write(tmp_path / "cut", tasks=(1,)) / "en-valid-10k" / "qa1_train.txt"
    whole = path.read_text()
    lines = whole[: whole.rindex("\n1 ") + 1]
    path.write_text(lines)
    task, left = BAbI(100, (1,), data_dir=tmp_path / "cut"), asked(tmp_path / "cut", (1,))
    results = (
        f"{path}, line {lines.count(chr(10))}: ends after {left} questions, where the published file has {count}; "
        "if it is truncated, download it again"
    )
    with pytest.warns(UserWarning, match=re.escape(results)):
        assert task.num_episodes == left < count
    assert task.notes == [results]


@pytest.mark.parametrize("folder", ["en", "en-10k"])
def test_file_names_with_the_name_of_the_task_are_found(folder, nowhere, tmp_path):
    write(tmp_path, folder, tasks=(1, 2), stories={"train": 2, "test": 1})
    expected = asked(tmp_path, inside=folder)
    for task in (1, 2):
        plain = tmp_path / folder / f"qa{task}_train.txt"
        plain.rename(plain.with_name(f"qa{task}_some-facts_train.txt"))
    assert size(tmp_path, folder=folder) == expected
    with pytest.raises(FileNotFoundError, match=f"^{folder}/qa1_valid.txt not in .*: {folder} has no validation files"):
        size(tmp_path, folder=folder, split="validation")


def test_each_story_is_read_apart(tmp_path):
    assert parse_stories(GOOD * 2, "it")[0] == parse_stories(GOOD * 2, "it")[1]
