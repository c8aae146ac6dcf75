"""What is no function of examples on the host is refused when the pipeline is built."""

import numpy as np
import pytest

from fnn import augment, data

EXAMPLES = np.zeros((4, 2, 2, 1), np.float32), np.zeros(4, np.int32)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"augment": augment.cutout}, r"got augment\.cutout, .* on the device: .*train\.fit"),
        ({"augment": augment.cutout(1)}, r"got augment\.cutout, .* on the device: .*train\.fit"),
        ({"augment": augment.rotate(3)}, r"got Transform, .*augment=augment\.affine\(…\)"),
        (
            {"augment": lambda example: example},
            r"of \(generator, example\), got <lambda>, .*\(example\)",
        ),
        ({"augment": 3}, r"expected a function of \(generator, example\), got 3"),
        ({"transform": 3}, r"transform: expected a function of \(example\), got 3"),
        ({"transform": lambda image, label: image}, r"which takes \(image, label\)"),
    ],
)
def test_says_what_was_expected(options, words):
    with pytest.raises(TypeError, match=words):
        data.pipeline(EXAMPLES, **options)


def test_names_of_classes_are_refused_with_the_way_to_numbers():
    with pytest.raises(TypeError, match=r"dtype <U1; make numbers .*np\.unique"):
        data.pipeline((EXAMPLES[0], np.array(list("abcd"))))
    with pytest.raises(ValueError, match=r"integer labels, got dtype <U1 .*np\.unique"):
        data.validate(data.Examples(EXAMPLES[0], np.array(list("abcd"))), list("abcd"))
