"""docs/augmentation.md: every name and every picture is there, small, and the program runs."""

import re
from pathlib import Path

import numpy as np
import pytest

from experiments import augmentation_pictures
from fnn import augment

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "augmentation.md").read_text()
# Types, which a page for users does not name.
TYPES = {"Augmentation", "Average", "Transform"}


def test_every_public_name_is_there():
    names = {n for n, v in vars(augment).items() if callable(v) and not n.startswith("_")}
    missing = {n for n in names - TYPES if not re.search(rf"\b{n}\(|`{n}`", PAGE)}
    assert not missing


def test_every_picture_is_drawn_and_shown_and_small():
    shown = set(re.findall(r"\]\(augmentation/(\w+)\.png\)", PAGE))
    files = {path.stem for path in (DOCS / "augmentation").glob("*.png")}
    drawn = {*augmentation_pictures.ALONE, *augmentation_pictures.MIXED, "ten_crop"}
    assert shown == files == drawn
    assert sum(path.stat().st_size for path in (DOCS / "augmentation").iterdir()) < 300_000


@pytest.mark.slow
def test_the_program_runs():
    names = {}
    exec(re.search(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)[1], names)
    assert names["x"].shape == (4, 32, 32, 3)


@pytest.mark.slow
def test_the_pictures_are_those_of_the_command(tmp_path):
    """Drawn again, every picture is the committed one, but for the last places of a few pixels."""
    image = pytest.importorskip("PIL.Image", reason="pictures are files of Pillow")
    augmentation_pictures.main(["--out", str(tmp_path)])
    for path in (DOCS / "augmentation").glob("*.png"):
        old, new = (
            np.asarray(image.open(p).convert("RGB"), np.int32) for p in (path, tmp_path / path.name)
        )
        assert old.shape == new.shape, path
        assert np.abs(old - new).mean() < 3, path
