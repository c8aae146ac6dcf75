"""Bad predictions and targets, over every loss: an error that begins with the loss's name and says what
was expected and what came, or an honest answer.

Each row gets its own prediction and target with other ranks, widths and dtypes, and things that are no
arrays. Which kinds apply to a loss is not listed here, it follows: what a loss takes must fit together
(`fits`), have one loss an example, and a gradient like the prediction. A silent broadcast of one to the
other is therefore found.
"""

from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tables import LOSSES, LossRow

from fnn.layer import PyTree
from fnn.losses import CTCTarget, Loss, Projected, softmax_cross_entropy

Leaf = np.ndarray
CHANGES: dict[str, Callable[[Leaf], Leaf]] = {
    "a number without axes": lambda leaf: leaf.reshape(-1)[0],
    "an axis less": lambda leaf: leaf[0],
    "an axis more": lambda leaf: leaf[None],
    "an axis of 1 more": lambda leaf: leaf[..., None],
    "another width": lambda leaf: np.concatenate([leaf, leaf[..., -1:]], axis=-1),
    "a width of 1": lambda leaf: leaf[..., :1],
    "a width of 0": lambda leaf: leaf[..., :0],
    "another count": lambda leaf: leaf[:-1],
    "one alone": lambda leaf: leaf[:1],
}
NO_ARRAYS = {
    "nothing": None,
    "a text": "cat",
    "a number": 1,
    "a tuple of a text": ("cat",),
    "uneven rows": [[1.0], [1.0, 2.0]],
}


def changed(tree: PyTree) -> Iterator[tuple[str, PyTree]]:
    """Each change of the whole, and of each leaf alone where there are several."""
    leaves, structure = jax.tree.flatten(tree)
    for kind, change in CHANGES.items():
        yield kind, jax.tree.map(change, tree)
        for i in range(len(leaves) if len(leaves) > 1 else 0):
            some = [change(leaf) if i == j else leaf for j, leaf in enumerate(leaves)]
            yield f"{kind} of leaf {i}", jax.tree.unflatten(structure, some)


def fits(prediction: PyTree, target: PyTree, per_class: bool) -> bool:
    """Whether shapes are those of some right prediction and target."""
    if isinstance(target, CTCTarget):
        count = prediction.shape[:1]
        return prediction.ndim == 3 and target.labels.shape[:-1] == count and all(
            lengths.shape == count for lengths in target[1:]
        )  # fmt: skip
    if isinstance(prediction, Projected):
        x, w, b = prediction
        return (x.shape[-1:], b.shape, target.shape) == (w.shape[:1], w.shape[1:], x.shape[:-1])
    if isinstance(prediction, tuple):
        return prediction[0].ndim == 2 and len({leaf.shape for leaf in prediction}) == 1
    return prediction.ndim > 0 and target.shape == prediction.shape[: -1 if per_class else None]


def refusal(loss: Loss, prediction: PyTree, target: PyTree) -> str | None:
    """What the loss says against its arguments; None if it takes them."""
    try:
        values, cache = loss.forward(prediction, target)
    except (ValueError, TypeError) as error:
        message = str(error)
        assert message.startswith(f"{loss.name.partition('(')[0]}"), message
        assert "expected" in message, message
        assert "got" in message, message
        return message
    gradient = loss.backward(cache, jnp.ones_like(values))
    assert jax.tree.map(signature, gradient) == jax.tree.map(signature, prediction)
    first = jax.tree.leaves(prediction)[0].shape
    assert values.shape in (first[:1], first[:-1])
    return None


def signature(leaf: Leaf | jax.Array) -> tuple[tuple[int, ...], str]:
    return leaf.shape, str(leaf.dtype)


@pytest.fixture(params=LOSSES.values(), ids=LOSSES)
def row(request: pytest.FixtureRequest) -> LossRow:
    return request.param


def test_other_shapes_are_refused_with_a_reason_or_are_right(row, rng):
    loss, prediction, target = row.build(), row.draw(rng), row.target(rng)
    assert refusal(loss, prediction, target) is None
    per_class = bool(jax.tree.leaves(target)) and not any(map(floating, jax.tree.leaves(target)))
    for kind, bad in changed(prediction):
        words = refusal(loss, bad, target)
        assert words is not None or fits(bad, target, per_class), f"prediction, {kind}"
    for kind, bad in changed(target):
        words = refusal(loss, prediction, bad)
        assert words is not None or fits(prediction, bad, per_class), f"target, {kind}"


def test_other_dtypes_are_refused(row, rng):
    loss, prediction, target = row.build(), row.draw(rng), row.target(rng)
    for dtype in (np.int32, bool):
        bad = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), prediction)
        assert refusal(loss, bad, target) is not None, dtype
    for dtype in (np.complex64, np.float32, np.int32, bool) if jax.tree.leaves(target) else ():
        bad = jax.tree.map(lambda leaf, dtype=dtype: leaf.astype(dtype), target)
        if refusal(loss, prediction, bad) is None:  # it then means the same in the row's own dtype
            assert dtype is not np.complex64
            same = jax.tree.map(lambda leaf, like: leaf.astype(like.dtype), bad, target)
            np.testing.assert_array_equal(
                loss.forward(prediction, bad)[0], loss.forward(prediction, same)[0]
            )


@pytest.mark.parametrize("kind", NO_ARRAYS)
def test_what_is_no_array_is_refused(row, rng, kind):
    loss, prediction, target = row.build(), row.draw(rng), row.target(rng)
    assert refusal(loss, NO_ARRAYS[kind], target) is not None
    # Where there is no target, None is as good as ().
    if NO_ARRAYS[kind] is not None or jax.tree.leaves(target):
        assert refusal(loss, prediction, NO_ARRAYS[kind]) is not None


def test_what_numpy_cannot_hold_is_said():
    with pytest.raises(ValueError, match=r"expected floating logits, got list: .*too large"):
        softmax_cross_entropy().forward([[2**70, 1]], [0])


def test_a_silent_broadcast_is_found(rng):
    """The test of the test: a squared error of whatever can be subtracted."""

    def forward(prediction, target):
        if prediction.shape != (4, 3):
            raise ValueError(f"careless: expected a prediction (4, 3), got {prediction.shape}")
        error = jnp.asarray(prediction - target)
        return (error * error).sum(axis=1), error

    loss = Loss("careless", forward, lambda error, dlosses: 2 * error)
    numbers = np.ones((4, 3), np.float32)
    careless = LossRow(lambda: loss, lambda rng: numbers, lambda rng: numbers)
    with pytest.raises(AssertionError, match="target, a number without axes"):
        test_other_shapes_are_refused_with_a_reason_or_are_right(careless, rng)


def floating(leaf: Leaf) -> bool:
    return bool(np.issubdtype(leaf.dtype, np.floating))
