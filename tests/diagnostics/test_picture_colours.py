"""Colours that every reader can tell apart: computed, for the three kinds of colour blindness.

What a person sees is simulated by the matrices of Machado, Oliveira, Fernandes (2009) for complete
dichromacy, in linear light; how far two colours lie apart is their distance in CIELAB.
"""

import itertools

import numpy as np
import pytest
from pictures import every_picture

from fnn.diagnostics.plots import colours

VISION = {
    "all cones": np.eye(3),
    "no long cones": [
        [0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle cones": [
        [0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no short cones": [
        [1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}  # fmt: skip
APART = 15.0  # in CIELAB, where 2.3 is just noticeable side by side
_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def linear(colour):
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)


def lab(light):
    t = _XYZ @ np.clip(light, 0, 1) / (_XYZ @ np.ones(3))
    f = np.where(t > (6 / 29) ** 3, np.cbrt(t), t / (3 * (6 / 29) ** 2) + 4 / 29)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def distance(a, b, vision):
    seen = [lab(np.asarray(VISION[vision]) @ linear(colour)) for colour in (a, b)]
    return np.linalg.norm(seen[0] - seen[1])


def test_the_simulation_takes_red_for_green():
    assert distance("#ff0000", "#00ff00", "all cones") > 150
    assert distance("#a05000", "#607000", "all cones") > 40
    assert distance("#a05000", "#607000", "no middle cones") < APART
    assert distance("#ffffff", "#000000", "no short cones") == pytest.approx(100, abs=0.5)


@pytest.mark.parametrize("vision", VISION)
def test_categories_lie_apart(vision):
    found = {
        (a, b): distance(a, b, vision) for a, b in itertools.combinations(colours.CATEGORIES, 2)
    }
    assert min(found.values()) > APART, min(found, key=found.get)


def test_categories_have_marks_and_lines_of_their_own():
    count = len(colours.CATEGORIES)
    assert len(set(colours.CATEGORIES)) == len(set(colours.MARKS)) == len(colours.LINES) == count
    pairs = [(colours.category(i), colours.mark(i)) for i in range(4 * count)]
    assert len(set(pairs)) == 4 * count


def test_pictures_use_no_other_colours_for_lines():
    own = {*colours.CATEGORIES, colours.TEXT, colours.MUTED, "white"}
    for name, (figure, _) in every_picture().items():
        lines = [line for axes in figure.axes for line in axes.lines if name != "confusion"]
        assert {line.get_color() for line in lines} <= own, name


def test_scales_grow_lighter_for_every_reader():
    matplotlib = pytest.importorskip("matplotlib")
    scale = matplotlib.colormaps[colours.SCALE](np.linspace(0, 1, 33))[:, :3]
    light = np.where(scale <= 0.04045, scale / 12.92, ((scale + 0.055) / 1.055) ** 2.4)
    for vision in VISION.values():
        lightness = [lab(np.asarray(vision) @ each)[0] for each in light]
        assert (np.diff(lightness) > 0).all()


def test_small_text_can_be_read_on_white():
    from fnn.diagnostics.plots.images import _WRONG

    for colour in (colours.TEXT, colours.MUTED, _WRONG):
        luminance = float(_XYZ[1] @ linear(colour))
        assert 1.05 / (luminance + 0.05) >= 4.5, colour  # WCAG 2, AA
