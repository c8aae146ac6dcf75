"""The second command: image files and samples, by the weights of a run."""

import re

import jax
import numpy as np
import pytest
from PIL import Image

from experiments import classify, networks
from experiments.pictures import read_picture
from fnn import data

CLASSES = tuple("0123456789")
GAIN, MEAN = 1.2, 0.25


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A folder as a run leaves it, with a network that answers by the one bright pixel."""
    folder = tmp_path_factory.mktemp("run")
    net = networks.RECIPES["mlp"].build(10)
    x = np.zeros((1, 8, 8, 1), np.float32)
    params, state = net.init(jax.random.key(0), x)
    params = jax.tree.map(np.zeros_like, params)
    w1, w2, w3 = (np.array(params[name].w) for name in ("hidden_1", "hidden_2", "logits"))
    for unit in range(10):
        w1[unit, unit] = w2[unit, unit] = w3[unit, unit] = GAIN
    for name, w in (("hidden_1", w1), ("hidden_2", w2), ("logits", w3)):
        params[name] = params[name]._replace(w=w)
    mean = np.full((8, 8, 1), MEAN, np.float32)
    classifier = networks.Classifier("mlp", "digits", CLASSES, data.Centre(mean), params, state)
    networks.save(networks.weights_file(folder), classifier)
    return folder


def dots(pixel, side=8):
    """Dark, with one bright pixel in the first row (and a half-bright one in the second row)."""
    image = np.zeros((side, side), np.uint8)
    image[0, pixel] = 255
    image[1, 0] = 128
    return image


def classified(capsys, *arguments):
    code = classify.main([str(argument) for argument in arguments])
    return code, capsys.readouterr().out


class TestFiles:
    def test_class_and_probability_of_each(self, run, tmp_path, capsys):
        for pixel in (2, 7):
            Image.fromarray(dots(pixel)).save(tmp_path / f"{pixel}.png")
        code, out = classified(capsys, run, tmp_path / "2.png", tmp_path / "7.png")
        assert code == 0
        rows = [line.split() for line in out.splitlines() if ".png" in line]
        # Centred, one pixel is bright, one is half as bright, and the others are below 0.
        first, second = (np.exp(GAIN**3 * (value - MEAN)) for value in (1, 128 / 255))
        total = first + second + 8
        for row, pixel in zip(rows, (2, 7), strict=True):
            assert row[0].endswith(f"{pixel}.png")
            assert row[1:] == [str(pixel), f"{first / total:.2%}", "8", f"{second / total:.2%}"]

    def test_the_weights_file_itself_may_be_named(self, run, tmp_path, capsys):
        Image.fromarray(dots(5)).save(tmp_path / "5.png")
        code, out = classified(capsys, networks.weights_file(run), tmp_path / "5.png")
        assert code == 0
        assert "trained on digits" in out

    def test_everything_is_said_when_a_file_is_missing(self, run, tmp_path, capsys):
        code, out = classified(capsys, run, tmp_path / "absent.png")
        assert code == 2
        assert "no image file" in out
        assert "absent.png" in out

    def test_files_that_are_no_images(self, run, tmp_path, capsys):
        Image.fromarray(dots(1)).save(tmp_path / "whole.png")
        whole = (tmp_path / "whole.png").read_bytes()
        for content in (b"", b"hello", whole[:50]):
            (tmp_path / "broken.png").write_bytes(content)
            code, out = classified(capsys, run, tmp_path / "broken.png")
            assert code == 2
            assert "broken.png: expected an image that can be read" in out

    def test_another_size_needs_resize(self, run, tmp_path, capsys):
        large = np.kron(dots(4), np.ones((10, 10), np.uint8))
        Image.fromarray(large).save(tmp_path / "large.png")
        code, out = classified(capsys, run, tmp_path / "large.png")
        assert code == 2
        assert "expected 8 × 8 pixels (height × width), got 80 × 80" in out
        assert "--resize" in out
        code, out = classified(capsys, run, tmp_path / "large.png", "--resize")
        assert code == 0
        (row,) = (line for line in out.splitlines() if "large.png" in line)
        assert "resized from 80 × 80  4" in row

    def test_other_proportions_are_refused(self, run, tmp_path, capsys):
        Image.fromarray(np.zeros((8, 16), np.uint8)).save(tmp_path / "wide.png")
        code, out = classified(capsys, run, tmp_path / "wide.png", "--resize")
        assert code == 2
        assert "got 8 × 16, whose proportions are others" in out


class TestPictures:
    """What reaches the network, for each form of the same drawing."""

    def read(self, image, tmp_path, invert="auto", resize=False):
        image.save(tmp_path / "picture.png")
        return read_picture(tmp_path / "picture.png", (8, 8), invert, resize)

    def test_grey_levels(self, tmp_path):
        picture = self.read(Image.fromarray(dots(3)), tmp_path)
        assert picture.pixels.shape == (8, 8, 1)
        assert picture.pixels.dtype == np.float32
        np.testing.assert_array_equal(picture.pixels[..., 0], dots(3).astype(np.float32) / 255)
        assert picture.done == ""

    def test_colours_and_sixteen_bits_are_the_same_drawing(self, tmp_path):
        expected = self.read(Image.fromarray(dots(3)), tmp_path).pixels
        coloured = Image.fromarray(np.repeat(dots(3)[..., None], 3, axis=2))
        deep = Image.fromarray(dots(3).astype(np.uint16) * 257)
        for image in (coloured, deep, Image.fromarray(dots(3)).convert("P")):
            np.testing.assert_array_equal(self.read(image, tmp_path).pixels, expected)

    def test_ink_on_paper_is_inverted(self, tmp_path):
        picture = self.read(Image.fromarray(255 - dots(3)), tmp_path)
        np.testing.assert_allclose(picture.pixels[..., 0], dots(3) / 255, rtol=0, atol=1e-6)
        assert picture.done == "inverted"

    def test_inversion_can_be_forced_and_forbidden(self, tmp_path):
        kept = self.read(Image.fromarray(255 - dots(3)), tmp_path, invert="no")
        assert kept.pixels[0, 3, 0] == 0
        turned = self.read(Image.fromarray(dots(3)), tmp_path, invert="yes")
        assert turned.pixels[0, 3, 0] == 0

    def test_transparency_is_paper(self, tmp_path):
        inked = np.zeros((8, 8, 4), np.uint8)  # black ink where it is opaque
        inked[..., 3] = dots(3)
        picture = self.read(Image.fromarray(inked), tmp_path)
        np.testing.assert_allclose(picture.pixels[..., 0], dots(3) / 255, rtol=0, atol=1 / 255)
        assert picture.done == "inverted"

    def test_resizing_takes_means(self, tmp_path, rng):
        large = rng.integers(0, 100, (24, 24)).astype(np.uint8)
        picture = self.read(Image.fromarray(large), tmp_path, resize=True)
        means = large.reshape(8, 3, 8, 3).mean(axis=(1, 3)) / 255
        np.testing.assert_allclose(picture.pixels[..., 0], means, rtol=0, atol=1e-6)


class TestSample:
    def test_says_what_is_right(self, run, capsys):
        code, out = classified(capsys, run, "--sample", 60)
        assert code == 0
        rows = [line for line in out.splitlines() if line.startswith("digits test")]
        assert len(rows) == 60
        seen = set()
        labels = data.load("digits").test.y
        for row in rows:
            name, verdict, said, *_ = re.split(r"\s{2,}", row)
            true = str(labels[int(name.split()[-1])])
            assert verdict == ("right" if said == true else f"wrong, is {true}")
            seen.add(verdict == "right")
        assert seen == {True, False}  # a network that was never trained is right at times

    def test_the_seed_chooses_it(self, run, capsys):
        first, again, other = (
            classified(capsys, run, "--sample", 3, "--seed", seed)[1] for seed in (1, 1, 2)
        )
        assert first == again != other

    @pytest.mark.parametrize("sample", [-1, 361])
    def test_refuses_more_than_there_are(self, run, sample, capsys):
        code, out = classified(capsys, run, "--sample", sample)
        assert code == 2
        assert "--sample from 1 to 360" in out


class TestMisuse:
    def test_nothing_to_classify(self, run, capsys):
        code, out = classified(capsys, run)
        assert code == 2
        assert "--sample 5" in out

    def test_no_run(self, tmp_path, capsys):
        code, out = classified(capsys, tmp_path / "none", "--sample", 1)
        assert code == 2
        assert "python -m experiments.mnist" in out

    def test_damaged_weights(self, run, tmp_path, capsys):
        whole = networks.weights_file(run).read_bytes()
        (tmp_path / "weights.safetensors").write_bytes(whole[:-5])
        code, out = classified(capsys, tmp_path, "--sample", 1)
        assert code == 2
        assert "damaged or was cut off" in out

    def test_weights_of_something_else(self, tmp_path, capsys):
        from fnn.train import save_weights

        save_weights(tmp_path / "weights.safetensors", {"a": np.zeros(2)}, (), {"model": "gpt"})
        code, out = classified(capsys, tmp_path, "--sample", 1)
        assert code == 2
        assert "expected a file that experiments.mnist wrote" in out

    @pytest.mark.parametrize(
        ("field", "text"),
        [
            ("input_shape", "5"),
            ("input_shape", "[8, 8]"),
            ("input_shape", "[8, 8, -1]"),
            ("input_shape", "[8, 8, true]"),
            ("input_shape", "[8, 8,"),
            ("classes", "10"),
            ("classes", "[]"),
            ("classes", "[0, 1]"),
            ("classes", "ten"),
        ],
    )
    def test_metadata_that_is_not_ours(self, field, text, tmp_path, capsys):
        from fnn.train import save_weights

        ours = {"model": "mlp", "dataset": "digits", "classes": '["0"]', "input_shape": "[8, 8, 1]"}
        file = tmp_path / "weights.safetensors"
        save_weights(file, {"a": np.zeros(2)}, (), ours | {field: text})
        code, out = classified(capsys, tmp_path, "--sample", 1)
        assert code == 2
        assert "expected a file that experiments.mnist wrote" in out
        assert field in out
        assert text in out
