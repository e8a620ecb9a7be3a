"""Data set files: search order, downloads and format errors; without a network."""

import gzip
import sys
from pathlib import Path

import numpy as np
import pytest

from badger import SequentialMNIST
from tasks.data import download as files
from tasks.data import idx
from tasks.data.mnist import MNIST
from tiny_mnist import NAMES, packed, write

IMAGES, LABELS = (f"{name}.gz" for name in NAMES["train"])
MD5 = {
    "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
    "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
    "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
    "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
}


def size(folder=None, split="train"):
    return SequentialMNIST(data_dir=folder, split=split).num_episodes


# --- where


@pytest.mark.parametrize("zipped", [True, False])
def test_files_lie_in_the_folder_packed_or_unpacked(zipped, nowhere, tmp_path):
    folder = write(tmp_path, zipped=zipped, train=12, test=3)
    assert [size(folder, split) for split in ("train", "validation", "test")] == [10, 2, 3]
    assert size(str(folder), "train+validation") == 12 and not nowhere


@pytest.mark.parametrize("inside", ["", "mnist"])
def test_files_are_found_in_the_environment_variable_or_its_subfolder(inside, monkeypatch, nowhere, tmp_path):
    write(tmp_path / inside, train=6)
    monkeypatch.setenv("BADGER_DATA", str(tmp_path))
    assert size() == 5 and not nowhere


def test_a_folder_that_is_named_goes_before_the_environment(monkeypatch, nowhere, tmp_path):
    monkeypatch.setenv("BADGER_DATA", str(write(tmp_path / "theirs", train=6)))
    assert size(write(tmp_path / "mine", train=12)) == 10


def test_another_environment_is_another_data_set(monkeypatch, nowhere, tmp_path):
    for name, train, left in (("a", 6, 5), ("b", 12, 10)):
        monkeypatch.setenv("BADGER_DATA", str(write(tmp_path / name, train=train)))
        assert size() == left


def test_a_folder_that_lacks_a_file_is_refused_and_not_made_up_from_elsewhere(monkeypatch, nowhere, tmp_path):
    mine = write(tmp_path / "mine")
    (mine / LABELS).unlink()
    monkeypatch.setenv("BADGER_DATA", str(write(tmp_path / "theirs")))
    with pytest.raises(FileNotFoundError, match=f"^{LABELS} not in {mine}; put these files") as caught:
        size(mine)
    assert all(f"{name}  md5 {md5}" in str(caught.value) for name, md5 in MD5.items())
    monkeypatch.setenv("BADGER_DATA", str(mine))
    with pytest.raises(FileNotFoundError, match=f"^{LABELS} not in {mine}; put these files"):
        size()
    with pytest.raises(FileNotFoundError, match=f"^{IMAGES}, {LABELS} not in {tmp_path / 'none'}; put these files"):
        size(tmp_path / "none")
    assert not nowhere


# --- fetched


def test_missing_files_are_downloaded_from_the_first_mirror_with_the_right_checksum(
    internet, monkeypatch, nowhere, tmp_path
):
    folder = write(tmp_path, train=12)
    first, second = MNIST.mirrors
    held = {
        first + IMAGES: ValueError("MD5 hash of downloaded file does not match"),
        second + IMAGES: folder / IMAGES,
        first + LABELS: folder / LABELS,
    }
    asked = internet(held, tmp_path / "cache")
    monkeypatch.setenv("BADGER_DATA", str(tmp_path / "none"))
    assert size() == 10
    place = tmp_path / "cache" / "badger-agents" / "mnist"
    assert asked == [
        (first + IMAGES, f"md5:{MD5[IMAGES]}", str(place / IMAGES)),
        (second + IMAGES, f"md5:{MD5[IMAGES]}", str(place / IMAGES)),
        (first + LABELS, f"md5:{MD5[LABELS]}", str(place / LABELS)),
    ]


@pytest.mark.parametrize("named", [None, "empty"])
def test_an_error_without_files_and_network_names_the_files(named, monkeypatch, nowhere, tmp_path):
    if named:
        monkeypatch.setenv("BADGER_DATA", str(tmp_path / named))
    with pytest.raises(FileNotFoundError) as caught:
        size(split="test")
    message = str(caught.value)
    assert all(f"{name}  md5 {md5}" in message for name, md5 in MD5.items())
    assert all(f"{mirror}t10k-images-idx3-ubyte.gz: OSError: no route" in message for mirror in MNIST.mirrors)
    assert "set data_dir or $BADGER_DATA to it" in message and str(Path("cache/badger-agents/mnist")) in message
    assert (str(tmp_path / "empty" / "mnist") if named else "which is not set") in message


def test_an_error_without_pooch_advises_installation(monkeypatch, nowhere):
    monkeypatch.setitem(sys.modules, "pooch", None)
    with pytest.raises(FileNotFoundError, match=r"pip install pooch; or put these files(.|\n)*f68b3c2dcbea"):
        size()


def test_a_failure_is_not_remembered(nowhere, tmp_path):
    with pytest.raises(FileNotFoundError):
        size(tmp_path)
    write(tmp_path, train=6)
    assert size(tmp_path) == 5


def test_the_real_pooch_takes_what_it_is_given(monkeypatch, tmp_path):
    pooch = pytest.importorskip("pooch")
    held = tmp_path / "held"
    write(held)
    md5 = {IMAGES: pooch.file_hash(str(held / IMAGES), alg="md5")}
    monkeypatch.delenv("BADGER_DATA")
    monkeypatch.setattr(pooch, "os_cache", lambda name: tmp_path / name)
    monkeypatch.setattr(pooch.core, "choose_downloader", lambda url, progressbar: lambda u, to, p: copied(u, held, to))
    source = files.DataSource("tiny", md5, ("https://a.invalid/", "https://b.invalid/"))
    (path,) = files.find_or_download(source, (IMAGES,))
    assert path == tmp_path / "badger-agents" / "tiny" / IMAGES and path.read_bytes() == (held / IMAGES).read_bytes()
    wrong = files.DataSource("wrong", {IMAGES: "0" * 32}, source.mirrors)
    with pytest.raises(FileNotFoundError, match=f"(?s){IMAGES} is neither .*does not match"):
        files.find_or_download(wrong, (IMAGES,))


def copied(url, held, to):
    if url.startswith("https://a.invalid"):
        raise OSError("no route")
    Path(to).write_bytes((held / url.rsplit("/", 1)[1]).read_bytes())


# --- the format


@pytest.mark.parametrize("shape", [(3,), (2, 28, 28), (0, 5), ()])
def test_an_array_of_bytes_is_read_as_it_was_written(shape, tmp_path):
    array = np.random.default_rng(0).integers(256, size=shape, dtype=np.uint8)
    (tmp_path / "a").write_bytes(packed(array))
    np.testing.assert_array_equal(idx.read(tmp_path / "a"), array, strict=True)


WHOLE = packed(np.zeros((2, 3), np.uint8))  # 12 of header and 6 bytes


@pytest.mark.parametrize(
    "held, message",
    [
        (WHOLE[:-1], r"has 17 bytes unpacked, want 18 for the shape \(2, 3\)"),
        (WHOLE + b"x", r"has 19 bytes unpacked, want 18 for the shape \(2, 3\)"),
        (WHOLE[:7], "has 7 bytes unpacked, less than its header"),
        (WHOLE[:2], "starts with .*, want an idx file"),
        (b"", "starts with b'', want an idx file"),
        (b"\x89PNG\r\n\x1a\n", r"starts with b'\\x89PNG', want an idx file"),
        (b"\0\0\x0d" + WHOLE[3:], "has idx type 0x0d, want unsigned bytes, 0x08"),
        (b"\0\0\x08\x02" + b"\xff" * 14, r"has 18 bytes unpacked, want 18446744065119617037 for the shape"),
    ],
)
def test_what_is_no_whole_array_is_refused_by_name(held, message, tmp_path):
    for path, written in ((tmp_path / "some.idx", held), (tmp_path / "some.idx.gz", gzip.compress(held))):
        path.write_bytes(written)
        with pytest.raises(ValueError, match=f"{path.name} {message}"):
            idx.read(path)


@pytest.mark.parametrize(
    "harm", [lambda b: b[:-9], lambda b: b[: len(b) // 2], lambda b: b"no" + b[2:], lambda b: b[:10] + b"\xff" * 8]
)
def test_a_gzip_file_that_is_cut_or_foreign_is_refused_by_name(harm, tmp_path):
    write(tmp_path)
    (tmp_path / IMAGES).write_bytes(harm((tmp_path / IMAGES).read_bytes()))
    with pytest.raises(ValueError, match=f"{IMAGES} is not a complete gzip file"):
        size(tmp_path)


def test_a_changed_byte_in_a_gzip_file_is_found(tmp_path):
    write(tmp_path)
    held = bytearray((tmp_path / IMAGES).read_bytes())
    held[len(held) // 2] ^= 1
    (tmp_path / IMAGES).write_bytes(held)
    with pytest.raises(ValueError, match=f"{IMAGES} is not a complete gzip file"):
        size(tmp_path)


def zeros(*shape, value=0):
    return np.full(shape, value, np.uint8)


@pytest.mark.parametrize(
    "images, labels, message",
    [
        (zeros(7, 28, 28), zeros(8), rf"{LABELS} has an array \(8,\), want the labels \(7,\) of .*{IMAGES}"),
        (zeros(7, 28, 28), zeros(7, 1), rf"{LABELS} has an array \(7, 1\), want the labels \(7,\)"),
        (zeros(7, 32, 32), zeros(7), rf"{IMAGES} has an array \(7, 32, 32\), want images \(N, 28, 28\)"),
        (zeros(7), zeros(7), rf"{IMAGES} has an array \(7,\), want images \(N, 28, 28\)"),
        (zeros(7, 28, 28), zeros(7, value=10), f"{LABELS} has the label 10, want 0 to 9"),
    ],
)
def test_images_and_labels_that_do_not_belong_together_are_refused(images, labels, message, tmp_path):
    for name, array in ((IMAGES, images), (LABELS, labels)):
        (tmp_path / name).write_bytes(gzip.compress(packed(array)))
    with pytest.raises(ValueError, match=message):
        size(tmp_path)
