"""Paths of leaves."""

from typing import Any, NamedTuple

import jax

from fnn.tree import paths


class Pair(NamedTuple):
    w: Any
    b: Any


def test_paths_are_keys_fields_and_positions():
    tree = {"out": [3, (4,)], "hidden": Pair(1, {"c": 2})}
    assert paths(tree) == [("hidden/w", 1), ("hidden/b/c", 2), ("out/0", 3), ("out/1/0", 4)]
    assert [leaf for _, leaf in paths(tree)] == jax.tree.leaves(tree)


def test_a_leaf_alone_has_the_empty_path_and_nothing_has_none():
    assert paths(7) == [("", 7)]
    assert paths({"a": (), "b": None}) == []


def test_leaves_of_ones_own():
    tree = {"a": None, "b": Pair(1, 2)}
    assert paths(tree, is_leaf=lambda node: node is None) == [("a", None), ("b/w", 1), ("b/b", 2)]
    assert paths(tree, is_leaf=lambda node: isinstance(node, Pair)) == [("b", Pair(1, 2))]
