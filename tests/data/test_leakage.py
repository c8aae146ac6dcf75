"""The leakage lint: every planted leak is found, and clean data raise no alarm."""

from functools import partial

import numpy as np
import pytest

from fnn import data
from fnn.data import duplicates, leakage, preprocess

rng = np.random.default_rng(0)
TRAIN, TEST = (rng.random((n, 8, 6)).astype(np.float32) for n in (200, 60))
TRAIN_Y, TEST_Y = (np.arange(n) % 5 for n in (200, 60))
zca = partial(preprocess.zca, epsilon=0.01)


def look(train=TRAIN, test=TEST, train_y=TRAIN_Y, test_y=TEST_Y, **options):
    return leakage(train, test, train_y=train_y, test_y=test_y, **options)


def only(report, kind):
    """The finding, if it is the only one and of this kind, in one line that says what to do."""
    assert [finding.kind for finding in report.findings] == [kind]
    assert not report.clean
    (finding,) = report.findings
    assert "\n" not in finding.message
    assert "; " in finding.message
    assert str(report).startswith(f"{kind}: {finding.message}\nlooked at: ")
    return finding


@pytest.mark.parametrize("name", ["digits", "packaged"])
def test_real_data_are_clean(name):
    dataset = data.load(name)
    (x, y), (test_x, test_y) = dataset.train, dataset.test
    fit = preprocess.standardize
    report = look(x, test_x, y, test_y, fitted=fit(x), fit=fit)
    assert report.clean
    assert str(report) == (
        f"no leak found\nlooked at: {len(x)} training and {len(test_x)} test examples, byte for byte; "
        "correlations of 0.99 or more; labels; preprocessing"
    )


@pytest.mark.slow
def test_mnist_is_clean_and_fashion_mnist_shows_some_things_twice(real_data):
    (x, y), (test_x, test_y) = data.load("mnist", real_data)[1:3]
    assert look(x, test_x[:1000], y, test_y[:1000]).clean
    (x, y), (test_x, test_y) = data.load("fashion-mnist", real_data)[1:3]
    finding = only(look(x, test_x[4200:5200], y, test_y[4200:5200]), "near duplicates")
    found = {(4200 + test, train) for test, train in finding.pairs.tolist()}
    assert found == {(4222, 20255), (4926, 18494), (4998, 13360), (5181, 25069)}


def test_copies_are_found_with_their_places_and_labels():
    test = TEST.copy()
    test[[3, 50]] = TRAIN[[8, 7]]
    finding = only(look(test=test), "exact duplicates")
    assert finding.pairs.tolist() == [[3, 8], [50, 7]]
    assert "2 test examples found in the training part" in finding.message
    assert "test 3 and training 8, 1 of them with another label" in finding.message
    assert "1 test example found" in str(look(test=np.concatenate([TEST[1:], TRAIN[:1]])))


def test_copies_of_bytes_are_found_without_labels_and_without_correlations():
    train = (TRAIN * 255).astype(np.uint8)
    report = leakage(train, np.concatenate([train[5:6], 255 - train]), similarity=None)
    assert only(report, "exact duplicates").pairs.tolist() == [[0, 5]]
    assert report.looked_at[1:] == (
        "near duplicates: not asked for",
        "labels: none given",
        "preprocessing: none given",
    )


@pytest.mark.parametrize("block", [1 << 23, 48 * 7])
def test_noisy_and_brighter_copies_are_found_as_near_duplicates(block, monkeypatch):
    monkeypatch.setattr(duplicates, "_BLOCK", block)
    test = TEST.copy()
    test[9] = TRAIN[120] + np.float32(0.2)
    test[4] = TRAIN[55] + 0.03 * rng.standard_normal((8, 6)).astype(np.float32)
    finding = only(look(test=test), "near duplicates")
    assert finding.pairs.tolist() == [[9, 120], [4, 55]]
    assert "correlations of 1.0000 to 0.99" in finding.message
    test = test[:12]
    alike = duplicates.most_alike(TRAIN, test, 0.2)
    for t, n, correlation in zip(*alike, strict=True):
        every = [
            np.corrcoef((row - TRAIN.mean(0)).ravel(), (test[t] - TRAIN.mean(0)).ravel())[0, 1]
            for row in TRAIN
        ]
        assert n == np.argmax(every)
        assert abs(correlation - max(every)) < 1e-5


@pytest.mark.parametrize("unit", [1e-12, 1e-6, 1e6])
def test_a_correlation_has_no_unit(unit):
    test = TEST.copy()
    test[4] = TRAIN[55] + 0.03 * np.random.default_rng(2).standard_normal((8, 6))
    alike = duplicates.most_alike(TRAIN * np.float32(unit), test * np.float32(unit), 0.99)
    assert (alike.test.tolist(), alike.train.tolist()) == ([4], [55])


def test_examples_without_contrast_are_like_nothing():
    flat = TRAIN.mean(axis=0) + np.arange(3, dtype=np.float32)[:, None, None]
    assert len(duplicates.most_alike(TRAIN, flat, 0.0001).test) == 0


def test_a_copy_is_reported_once_and_few_features_are_not_correlated():
    test = np.concatenate([TRAIN[:1], TEST[1:]])
    only(look(test=test), "exact duplicates")
    narrow = look(TRAIN[:, :3, :2], TEST[:, :3, :2])
    assert narrow.clean
    assert "near duplicates: not with 6 features" in narrow.looked_at


def test_one_image_with_two_labels_is_found_in_either_part():
    train, test = TRAIN.copy(), TEST.copy()
    train[[10, 20, 31]] = train[0]  # the labels 0, 0 and 1
    finding = only(look(train), "conflicting labels")
    assert finding.pairs.tolist() == [[0, 31]]
    assert "1 example of the training part" in finding.message
    test[6] = test[2]
    assert "of the test part" in only(look(test=test), "conflicting labels").message


def planted(values):
    """Both parts with a feature, at position 20, of these values of the label."""
    parts = []
    for x, y in ((TRAIN, TRAIN_Y), (TEST, TEST_Y)):
        x = x.copy()
        x.reshape(len(x), -1)[:, 20] = values(y)
        parts.append(x)
    return look(*parts)


@pytest.mark.parametrize(
    "values",
    [
        lambda y: y,
        lambda y: 1000 - 3 * y,
        lambda y: np.array([4, 0, 3, 1, 2])[y],
        lambda y: y == 3,
        lambda y: y + 0.01 * np.random.default_rng(1).standard_normal(len(y)),
    ],
    ids=["label", "affine", "permuted", "one class", "noisy"],
)
def test_a_feature_that_is_the_label_is_found_under_any_code(values):
    report = planted(values)
    assert [f.kind for f in report.findings] == ["label in a feature"] * 2
    assert [f.pairs.tolist() for f in report.findings] == [[[20, 0]]] * 2
    assert "the first at position 20 of a flattened example" in report.findings[0].message


@pytest.mark.parametrize(
    "values",
    [lambda y: 7, lambda y: y + 0.3 * rng.standard_normal(len(y)), lambda y: rng.permutation(y)],
    ids=["constant", "a good feature", "another order"],
)
def test_a_feature_that_only_helps_is_no_leak(values):
    assert planted(values).clean


def test_a_label_that_is_a_number_is_found_around_a_line():
    y = rng.standard_normal(200)
    x = TRAIN.copy()
    x[:, 1, 1] = 5 - 2 * y
    finding = only(look(x, train_y=y, test_y=rng.standard_normal(60)), "label in a feature")
    assert finding.pairs.tolist() == [[7, 0]]
    assert look(train_y=y, test_y=np.ones(60)).clean


def test_too_few_examples_say_nothing_about_a_feature():
    assert look(TRAIN[:10], TEST, np.arange(10) % 5).clean


def test_missing_classes_and_uneven_parts_are_found():
    few = np.where(np.arange(60) == 7, 9, TEST_Y)
    finding = only(look(test_y=few), "missing classes")
    assert finding.pairs.tolist() == [[9, 0]]
    assert "no example of class 9" in finding.message
    finding = only(look(test_y=TEST_Y * (TEST_Y < 3)), "class proportions")
    assert finding.pairs.tolist() == [[0, 0]]
    assert "class 0 (20.0% of the training part, 60.0% of the test part)" in finding.message


def test_chance_differences_of_a_random_split_raise_no_alarm():
    """1000 random splits: at p < 3e-5 even one alarm is unlikely."""
    draw = np.random.default_rng(1)
    for _ in range(1000):
        y = draw.integers(0, 5, 260)
        assert data.leakage_checks.balance(y[:200], y[200:]) == []


@pytest.mark.parametrize("fit", [preprocess.mean_image, preprocess.standardize, zca])
@pytest.mark.parametrize("seen", ["train", "both", "test", "other"])
def test_a_fit_on_more_than_the_training_part_is_found(fit, seen):
    both = np.concatenate([TRAIN, TEST])
    on = {"train": TRAIN, "both": both, "test": TEST, "other": TRAIN[:150]}[seen]
    report = look(fitted=fit(on), fit=fit)
    if seen == "train":
        assert report.clean
        return
    words = {"both": "fitted on both parts", "test": "fitted on the test part"}
    message = only(report, "preprocessing").message
    assert words.get(seen, "fitted on something else: its relative distance is") in message


def test_a_fit_of_several_steps_is_compared_as_a_whole_and_up_to_rounding():
    fit = partial(
        lambda *steps: lambda x: preprocess.fit(x, *steps), preprocess.global_contrast(), zca
    )()
    fitted = fit(TRAIN)
    rounded = preprocess.compose(
        fitted.steps[0], fitted.steps[1]._replace(mean=fitted.steps[1].mean + np.float32(1e-7))
    )
    assert look(fitted=rounded, fit=fit).clean
    only(look(fitted=fit(np.concatenate([TRAIN, TEST])), fit=fit), "preprocessing")
    only(look(fitted=preprocess.pca(TEST, 3), fit=preprocess.pca), "preprocessing")


def test_what_counts_its_examples_is_told_apart_without_the_fit():
    assert look(fitted=preprocess.fit(TRAIN, preprocess.standardize, zca)).clean
    both = preprocess.fit(np.concatenate([TRAIN, TEST]), preprocess.global_contrast(), zca)
    message = only(look(fitted=both), "preprocessing").message
    assert "on 260 examples (as many as both parts have), and not on the 200" in message
    with pytest.raises(ValueError, match="as `fit`: Centre does not say"):
        look(fitted=preprocess.mean_image(TRAIN))
    with pytest.raises(ValueError, match="as `fit`: Centre does not say"):
        look(fitted=preprocess.fit(TRAIN, preprocess.mean_image, preprocess.standardize))
    assert look(fitted=preprocess.global_contrast()).clean


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"train": TRAIN[:, :7]}, "two parts of one kind"),
        ({"test": TEST.astype(np.float64)}, "float32 and (60, 8, 6) float64"),
        ({"test": TEST[:0]}, "examples in both parts"),
        ({"train": TRAIN[:, 0, 0], "test": TEST[:, 0, 0]}, "of shape (N, …)"),
        ({"train_y": None}, "labels of both parts or of none"),
        ({"train_y": TRAIN_Y[1:]}, "got (199,) and (60,)"),
        ({"train_y": TRAIN_Y.astype(str)}, "labels that are numbers"),
        ({"similarity": 0.0}, "similarity in (0, 1], or None, got 0.0"),
    ],
)
def test_what_cannot_be_compared_is_refused(options, words):
    with pytest.raises(ValueError, match="expected") as caught:
        look(**options)
    assert words in str(caught.value)
