"""Folders and tars of images: labels, order, bounds, and the cache of what was decoded."""

import io
import os
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from fnn.data import read_cifar, read_images
from fnn.data.cifar import CIFAR10_CLASSES, read_cifar10_jpeg


def encoded(pixels, kind="PNG"):
    out = io.BytesIO()
    Image.fromarray(np.asarray(pixels, np.uint8)).save(out, kind)
    return out.getvalue()


@pytest.fixture
def pixels(rng):
    return rng.integers(0, 256, (4, 6, 5, 3)).astype(np.uint8)


@pytest.fixture
def files(pixels):
    """Names that are not in order, and their images."""
    names = ("train/dog/2.png", "train/cat/1.PNG", "test/dog/9.png", "train/dog/1.png")
    return dict(zip(names, map(encoded, pixels), strict=True))


@pytest.fixture
def tar(tmp_path):
    def write(files, mode="w:gz"):
        path = tmp_path / "images.tar"
        with tarfile.open(path, mode) as archive:
            for name, data in files.items():
                member = tarfile.TarInfo(name)
                member.size = len(data)
                archive.addfile(member, io.BytesIO(data))
        return path

    return write


@pytest.fixture
def folder(tmp_path):
    def write(files):
        for name, data in files.items():
            path = tmp_path / "images" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return tmp_path / "images"

    return write


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_tar_keeps_its_order(mode, files, pixels, tar):
    for source in (tar(files, mode), io.BytesIO(tar(files, mode).read_bytes())):
        got = read_images(source)
        np.testing.assert_array_equal(got.images, pixels, strict=True)
        np.testing.assert_array_equal(got.labels, np.array([1, 0, 1, 1], np.int32), strict=True)
        assert got.classes == ("cat", "dog")
        assert got.names == tuple(files)
        assert got.images.flags.writeable


def test_a_folder_is_sorted_by_name(files, pixels, folder):
    got = read_images(folder(files))
    assert got.names == tuple(sorted(files))
    assert [got.classes[n] for n in got.labels] == [name.split("/")[1] for name in sorted(files)]
    np.testing.assert_array_equal(got.images, pixels[[2, 1, 3, 0]], strict=True)


def test_the_classes_may_be_given_and_the_images_grey(files, tar):
    got = read_images(tar(files), classes=("dog", "bird", "cat"), mode="L")
    assert got.labels.tolist() == [0, 2, 0, 0]
    assert got.classes == ("dog", "bird", "cat")
    assert got.images.shape == (4, 6, 5, 1)
    with pytest.raises(
        ValueError, match=r"train/cat/1.PNG: expected a folder named dog, got 'cat'"
    ):
        read_images(tar(files), classes=("dog",))
    with pytest.raises(ValueError, match="expected different classes, got a, a"):
        read_images(tar(files), classes=("a", "a"))


def test_hidden_files_and_folders_are_passed_over(files, tar, folder):
    hidden = {"a/.DS_Store": b"x", "a/._1.png": b"y", ".git/b/1.png": b"z"}
    assert read_images(tar(hidden | files)).names == tuple(files)
    assert read_images(folder(hidden | files)).names == tuple(sorted(files))


GOOD = encoded(np.zeros((6, 5, 3)))
FAULTS = {
    "no image": ({"a/1.png": b"x"}, "a/1.png: expected a JPEG or PNG image"),
    "cut": ({"a/1.png": GOOD[:-1]}, "a/1.png: truncated"),
    "another size": (
        {"a/1.png": GOOD, "a/2.png": encoded(np.zeros((5, 6, 3)))},
        "a/2.png: expected an image of height and width (6, 5), got (5, 6)",
    ),
    "another file": ({"a/1.png": GOOD, "a/labels.txt": b"x"}, "a/labels.txt: expected images only"),
    "no class": ({"1.png": GOOD}, "1.png: expected an image in a folder named after its class"),
    "nothing": ({"a/.x": b""}, "expected images (.jpg, .jpeg, .png), got none"),
}


@pytest.mark.parametrize("case", FAULTS)
@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_each_fault_names_its_file(case, kind, request):
    content, words = FAULTS[case]
    path = request.getfixturevalue(kind)(content)
    with pytest.raises(ValueError, match=re.escape(words)) as caught:
        read_images(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_bounds_are_the_callers(kind, files, request):
    path = request.getfixturevalue(kind)(files)
    assert len(read_images(path, max_images=4, size=(6, 5), max_pixels=30).labels) == 4
    with pytest.raises(ValueError, match=r"at most 3 images \(max_images\)"):
        read_images(path, max_images=3)
    with pytest.raises(ValueError, match=r"expected at most 29 pixels \(max_pixels\)"):
        read_images(path, max_pixels=29)
    with pytest.raises(ValueError, match=r"height and width \(5, 6\), got \(6, 5\)"):
        read_images(path, size=(5, 6))
    with pytest.raises(ValueError, match="expected mode 'RGB' or 'L', got 'RGBA'"):
        read_images(path, mode="RGBA")
    words = "at most 300 bytes of pixels" if kind == "folder" else "at most 300 bytes unpacked"
    with pytest.raises(ValueError, match=words):
        read_images(path, max_bytes=300)


def test_links_pipes_and_deep_folders_are_refused(files, folder, tmp_path):
    path = folder(files)
    link = path / "train" / "dog" / "3.png"
    for make in (
        lambda: link.symlink_to(path / "train" / "dog" / "2.png"),
        lambda: os.mkfifo(link),
    ):
        make()
        with pytest.raises(ValueError, match=r"3.png: expected a file or a folder, got a link or"):
            read_images(path)
        link.unlink()
    (path / "loop").symlink_to(path)
    with pytest.raises(ValueError, match="loop: expected a file or a folder, got a link"):
        read_images(path)
    deep = tmp_path / "deep" / "/".join("abcdefghij")
    deep.mkdir(parents=True)
    with pytest.raises(ValueError, match="expected at most 8 folders in each other"):
        read_images(tmp_path / "deep")


def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (tmp_path / "pipe", tmp_path / "link"):
        with pytest.raises(ValueError, match="expected a file, got a folder, a pipe or a device"):
            read_images(path)
    with pytest.raises(FileNotFoundError, match=r"no file .*absent"):
        read_images(tmp_path / "absent")


def test_one_name_twice_is_refused(tmp_path):
    path = tmp_path / "twice.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            member = tarfile.TarInfo("a/1.png")
            member.size = len(GOOD)
            archive.addfile(member, io.BytesIO(GOOD))
    with pytest.raises(ValueError, match=r"a/1.png: expected images of different names"):
        read_images(path)


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_the_cache_is_what_was_read(kind, files, request, tmp_path, monkeypatch):
    path, cache = request.getfixturevalue(kind)(files), tmp_path / "made" / "cache.npz"
    first = read_images(path, cache=cache)
    monkeypatch.setattr("fnn.data.images.decode_image", None)  # nothing is decoded again
    again = read_images(path, cache=cache)
    for part, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(part, other, strict=True)
    assert again.names == first.names
    assert type(again.classes) is tuple
    assert [entry.name for entry in cache.parent.iterdir()] == ["cache.npz"]


@pytest.mark.parametrize("kind", ["tar", "folder"])
def test_another_source_or_question_is_read_anew(kind, files, pixels, request, tmp_path):
    write, cache = request.getfixturevalue(kind), tmp_path / "cache.npz"
    path = write(files)
    assert read_images(path, cache=cache).images.shape == (4, 6, 5, 3)
    assert read_images(path, cache=cache, mode="L").images.shape == (4, 6, 5, 1)
    assert read_images(path, cache=cache, classes=("dog", "cat")).labels.tolist()[0] == 0
    changed = {name: encoded(255 - image) for name, image in zip(files, pixels, strict=True)}
    assert sorted(read_images(write(changed), cache=cache).images.ravel()) == sorted(
        (255 - pixels).ravel()
    )


def test_a_tar_of_train_and_test_is_a_data_set(tar, rng):
    names = ["train/cat/0.png", "train/airplane/1.png", "test/truck/0.png"]
    images = rng.integers(0, 256, (3, 32, 32, 3)).astype(np.uint8)
    data = read_cifar10_jpeg(tar(dict(zip(names, map(encoded, images), strict=True))))
    np.testing.assert_array_equal(data.train.x, (images[:2] / 255).astype(np.float32), strict=True)
    np.testing.assert_array_equal(data.test.x, (images[2:] / 255).astype(np.float32), strict=True)
    assert (data.train.y.tolist(), data.test.y.tolist()) == ([3, 0], [9])
    mixed = dict(zip(names[::2] + names[1:2], map(encoded, images), strict=True))
    np.testing.assert_array_equal(read_cifar10_jpeg(tar(mixed)).train.x[1], data.test.x[0])
    with pytest.raises(ValueError, match="expected images below test/, got none"):
        read_cifar10_jpeg(tar({names[0]: encoded(images[0])}))
    other = {"more/cat/1.png": encoded(images[0])}
    with pytest.raises(ValueError, match="below train/ and test/, got others as well"):
        read_cifar10_jpeg(tar(other | mixed))


def test_the_first_real_images_are_those_of_the_exact_pixels(real_data):
    with tarfile.open(real_data / "cifar10" / "cifar10-jpeg.tar.gz") as archive:
        chosen = [archive.next() for _ in range(300)]
        part = {file.name: archive.extractfile(file).read() for file in chosen}
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for file in chosen:
            archive.addfile(file, io.BytesIO(part[file.name]))
    got = read_images(io.BytesIO(out.getvalue()))
    assert got.images.shape == (300, 32, 32, 3)
    assert got.names[:2] == ("train/frog/0000.jpg", "train/truck/0000.jpg")
    assert got.classes == CIFAR10_CLASSES  # which are in order of their names
    exact = read_cifar(real_data / "cifar10" / "cifar-10-batches-bin" / "data_batch_1.bin")
    np.testing.assert_array_equal(got.labels, exact.labels[:300, 0])
    difference = got.images.astype(np.float64) - exact.images[:300]
    psnr = 20 * np.log10(255) - 10 * np.log10(np.mean(difference**2, axis=(1, 2, 3)))
    assert abs(psnr.mean() - 30.5) < 0.5
    assert psnr.min() > 23
