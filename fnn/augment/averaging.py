"""Predictions averaged over what is random: dropout, augmentation, crops."""

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple, get_args

import jax
import jax.numpy as jnp

from fnn.augment.augmentation import part_key, within
from fnn.batch import Augmentation, check_augmentation
from fnn.compose.training_noise import training_noise
from fnn.dtypes import accumulation_dtype
from fnn.layer import Array, Key, Layer, PyTree, as_arrays

Space = Literal["probability", "logit"]
View = Callable[[Array], Array]  # (N, H, W, C) -> (N, h, w, C)


class Average(NamedTuple):
    """What the passes say together; of the shape of one prediction, at least float32."""

    mean: PyTree
    spread: PyTree  # the standard deviation over the passes


def averaged(
    net: Layer,
    *,
    draws: int = 1,
    noise: bool = False,
    augmentation: Augmentation | None = None,
    views: Sequence[View] | None = None,
    space: Space = "probability",
    at_once: int = 1,
) -> Callable[..., Average]:
    """``average(params, state, x, key=None) -> Average(mean, spread)`` over passes of the network.

        averaged(net, draws=30, noise=True)                     # Monte Carlo dropout
        averaged(net, draws=10, augmentation=random_crop(4))    # test-time augmentation
        averaged(net, views=ten_crop((24, 24)))                 # ten crops

    Each view of x, or x itself, is seen `draws` times, each time with another key. With `noise`, layers
    that carry no state make their training pass, and so draw (dropout); those that carry some, as batch
    norm does, predict, so that a prediction does not depend on the other examples. Without, all predict.
    Pass p, of the view ⌊p / draws⌋, draws with ``fold_in(key, p)``.

        mean = Σ_p q_p / P      spread = √(Σ_p (q_p - mean)² / P)      q = softmax(prediction), or itself

    It is compiled, as one loop, and holds the activations of `at_once` passes, and all P predictions and
    views. Losses and `train.evaluate` take the logarithm of mean probabilities as they take logits.
    Source: Gal, Ghahramani (2016); Krizhevsky, Sutskever, Hinton (2012).

    Args:
      net: the network.
      draws: passes for each view.
      noise: whether layers draw as they do in training.
      augmentation: of the views, with the batch ``(x, ())``: one that needs targets raises.
      views: functions of x that give arrays of one shape, each of which is seen.
      space: "probability" averages the softmax over the last axis, "logit" the predictions themselves.
      at_once: passes that run side by side, by `vmap`.

    Raises:
      TypeError: the augmentation is none.
      ValueError: an option out of range; several draws of which all would be the same; no view. Of the
        function: nothing to draw with, or views of several shapes.
    """
    if draws < 1 or at_once < 1:
        raise ValueError(f"averaged: expected draws and at_once >= 1, got {draws} and {at_once}")
    if augmentation is not None:
        check_augmentation(augmentation, "averaged")
    random = noise or augmentation is not None
    if draws > 1 and not random:
        raise ValueError(
            f"averaged: expected something random for {draws} draws, which would all be the same; "
            "set noise=True, or give an augmentation"
        )
    if views is not None and len(views) == 0:
        raise ValueError("averaged: expected at least one view, got none")
    if space not in get_args(Space):
        raise ValueError(f"averaged: expected space among {get_args(Space)}, got {space!r}")
    noisy = training_noise(net) if noise else net

    def one(params: PyTree, state: PyTree, x: PyTree, key: Key) -> PyTree:
        """What one pass says."""
        if augmentation is not None and key is not None:
            with within("averaged"):
                x = augmentation(part_key(key, "augmentation"), (x, ()))[0]
        if noise and key is not None:
            prediction = noisy.forward(params, state, x, part_key(key, "noise"))[0]
        else:
            prediction = net.predict(params, state, x)
        wide = jax.tree.map(lambda q: q.astype(accumulation_dtype(q.dtype)), prediction)
        return wide if space == "logit" else jax.tree.map(jax.nn.softmax, wide)

    @jax.jit
    def average(params: PyTree, state: PyTree, x: PyTree, key: Key = None) -> Average:
        if random and key is None:
            raise ValueError("averaged: expected a key to draw with, got None")
        seen = _stacked(as_arrays(x), views)
        count = draws * (1 if views is None else len(views))

        def run(p: Array) -> PyTree:
            x = jax.tree.map(lambda leaf: leaf[p // draws], seen)
            return one(params, state, x, None if key is None else jax.random.fold_in(key, p))

        passes = jnp.arange(count, dtype=jnp.int32)
        predictions = jax.lax.map(run, passes, batch_size=min(at_once, count))
        return Average(*(jax.tree.map(f, predictions) for f in (_mean, _spread)))

    return average


def ten_crop(size: tuple[int, int]) -> list[View]:
    """The four corners and the middle of images, of this size (h, w), and the same five mirrored.

    Of an odd rest, the middle lies half a pixel towards top and left. Source: Krizhevsky, Sutskever,
    Hinton (2012).

    Raises:
      ValueError: a size that is none. Of a view: the images are smaller.
    """
    return [
        view
        for mirror in (False, True)
        for place in ((0.0, 0.0), (0.0, 1.0), (1.0, 0.0), (1.0, 1.0), (0.5, 0.5))
        for view in [_crop(size, place, mirror)]
    ]


def mirrored() -> list[View]:
    """Images as they are, and with left and right in each other's place."""
    return [lambda x: x, lambda x: jnp.flip(x, 2)]


def _crop(size: tuple[int, int], place: tuple[float, float], mirror: bool) -> View:
    if len(size) != 2 or any(not isinstance(n, int) or n < 1 for n in size):
        raise ValueError(f"ten_crop: expected a size of two positive integers, got {size!r}")

    def crop(x: Array) -> Array:
        if x.ndim != 4 or x.shape[1] < size[0] or x.shape[2] < size[1]:
            raise ValueError(f"ten_crop: expected images that hold {size}, got x of {x.shape}")
        top, left = (int(p * (n - m)) for p, n, m in zip(place, x.shape[1:3], size, strict=True))
        window = x[:, top : top + size[0], left : left + size[1]]
        return jnp.flip(window, 2) if mirror else window

    return crop


def _stacked(x: PyTree, views: Sequence[View] | None) -> PyTree:
    """All that is seen, along a new first axis."""
    if views is None:
        return jax.tree.map(lambda leaf: leaf[None], x)
    seen = [view(x) for view in views]
    shapes = {jax.tree.map(jnp.shape, v) for v in seen}
    if len(shapes) != 1:
        raise ValueError(f"averaged: expected views of one shape, got {sorted(shapes)}")
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *seen)


def _mean(q: Array) -> Array:
    return q.mean(axis=0)


def _spread(q: Array) -> Array:
    return q.std(axis=0)
