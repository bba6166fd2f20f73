"""The paired bootstrap over images: known differences, clusters, and repetition."""

import numpy as np
import pytest
from numpy.typing import ArrayLike

from s2rm.scoring.intervals import RESAMPLES, Interval, Ratio, bootstrap, bootstrap_all, holm, mean_ratios


def bootstrap_difference(samples: list[tuple[ArrayLike, ArrayLike]]) -> Interval:
    """Of samples whose images are drawn together where they have the same names."""
    return bootstrap(
        mean_ratios([Ratio(values, np.ones(len(values)), list(images)) for values, images in samples])
    )


def clustered(mean: float, images: int = 60, each: int = 8, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Draw differences that are nearly equal within an image; return them with their images."""
    random = np.random.default_rng(seed)
    shared = random.normal(mean, 3, images)
    return np.repeat(shared, each) + random.normal(0, 0.1, images * each), np.repeat(np.arange(images), each)


def test_a_known_difference_is_found() -> None:
    for seed in range(5):
        found = bootstrap_difference([clustered(-4.0, seed=seed)])
        assert found.low < -4.0 < found.high < 0
        assert found.low < found.value < found.high


def test_the_interval_agrees_with_theory() -> None:
    difference, image = clustered(1.0, images=200)
    of_images = difference.reshape(200, -1).mean(axis=1)
    error = 1.96 * of_images.std(ddof=1) / np.sqrt(200)
    found = bootstrap_difference([(difference, image)])
    assert found.value == pytest.approx(difference.mean())
    assert (found.low, found.high) == pytest.approx(
        (found.value - error, found.value + error), abs=0.1 * error
    )


def test_no_difference_has_an_interval_around_0() -> None:
    covered = 0
    for seed in range(20):
        found = bootstrap_difference([clustered(0.0, seed=seed)])
        covered += found.low <= 0 <= found.high
    assert covered >= 17  # 19 are expected; P(< 17) = 1.6 % for an interval of the stated confidence


def test_equal_models_have_an_interval_of_no_width() -> None:
    found = bootstrap_difference([(np.zeros(12), np.repeat(np.arange(4), 3))])
    assert (found.value, found.low, found.high) == (0, 0, 0)


def test_expressions_of_an_image_are_drawn_together() -> None:
    """Treated as independent, eight near copies would narrow the interval by √8."""
    difference, image = clustered(1.0)
    together = bootstrap_difference([(difference, image)])
    apart = bootstrap_difference([(difference, np.arange(len(image)))])
    ratio = (together.high - together.low) / (apart.high - apart.low)
    assert ratio == pytest.approx(np.sqrt(8), rel=0.1)


def test_every_expression_weighs_the_same() -> None:
    """mIoU is the mean over expressions, not over images."""
    found = bootstrap_difference([([1, 1, 1, 5], [7, 7, 7, 3])])
    assert found.value == 2
    assert (found.low, found.high) == (1, 5)  # draws that contain one image only


def test_order_of_the_expressions_and_names_of_images_do_not_matter() -> None:
    difference, image = clustered(1.0)
    order = np.random.default_rng(1).permutation(len(image))
    found = vars(bootstrap_difference([(difference[order], image[order] + 500)]))
    assert found == pytest.approx(vars(bootstrap_difference([(difference, image)])))


def test_several_benchmarks_weigh_the_same() -> None:
    small, (values, image) = clustered(2.0, images=20), clustered(-1.0, images=300, seed=1)
    large = values, image + 1000  # other images
    found = bootstrap_difference([small, large])
    assert found.value == pytest.approx((small[0].mean() + large[0].mean()) / 2)
    widths = [found.high - found.low for found in map(bootstrap_difference, ([small], [large]))]
    assert found.high - found.low == pytest.approx(np.hypot(*widths) / 2, rel=0.15)


def test_an_image_of_two_benchmarks_is_drawn_once() -> None:
    """Drawn for each of them, equal benchmarks would narrow the interval by √2."""
    sample = clustered(1.0)
    once, twice = bootstrap_difference([sample]), bootstrap_difference([sample, sample])
    assert vars(twice) == pytest.approx(vars(once))


def test_holm() -> None:
    """The example of Holm's adjustment in R: p.adjust(c(0.01, 0.02, 0.03, 0.04), "holm")."""
    assert holm([0.01, 0.02, 0.03, 0.04]) == pytest.approx([0.04, 0.06, 0.06, 0.06])
    assert holm([0.04, 0.001, np.nan]) == pytest.approx([0.04, 0.002, np.nan], nan_ok=True)
    assert holm([0.9, 0.8]) == pytest.approx([1.0, 1.0])


def ratios(rng: np.random.Generator, images: int) -> tuple[list[Ratio], list[Ratio]]:
    """Made-up scores of two benchmarks with the same images: mIoU and oIoU."""
    counts = rng.integers(2, 8, images)
    image = np.repeat(np.arange(images), counts)
    quality, size = rng.normal(1, 1, images), rng.lognormal(9, 0.7, images)
    found: tuple[list[Ratio], list[Ratio]] = ([], [])
    for _ in range(2):
        union = size[image] * rng.lognormal(0, 0.5, len(image))
        iou = 1 / (1 + np.exp(-quality[image] - rng.normal(0, 1, len(image))))
        found[0].append(Ratio(iou, np.ones(len(iou)), image.tolist()))
        found[1].append(Ratio(iou * union, union, image.tolist()))
    return found


@pytest.mark.slow
@pytest.mark.parametrize("benchmarks", [1, 2])
@pytest.mark.parametrize("metric", [0, 1])
def test_intervals_cover_the_truth(metric: int, benchmarks: int) -> None:
    """95 of 100 times; of 1,000 simulations between 93 and 97 %."""
    rng = np.random.default_rng(7)
    everything = ratios(rng, 200_000)[metric]
    truth = np.mean([np.sum(each.numerator) / np.sum(each.denominator) for each in everything])
    covered = 0
    for _ in range(1000):
        found = bootstrap(mean_ratios(ratios(rng, 150)[metric][:benchmarks]), resamples=1000)
        covered += found.low <= truth <= found.high
    assert 930 <= covered <= 970, covered


def test_it_repeats_exactly() -> None:
    assert RESAMPLES == 10_000
    assert bootstrap_difference([clustered(1.0)]) == bootstrap_difference([clustered(1.0)])


def test_a_single_image_has_no_interval() -> None:
    found = bootstrap_difference([([1.0, 3.0], [5, 5])])
    assert found.value == 2
    assert np.isnan([found.low, found.high]).all()


def test_a_group_with_a_single_image_has_no_interval() -> None:
    """Though the images of all groups are drawn together, and the same ones as without it."""
    values, image = clustered(1.0)
    several = Ratio(values, np.ones(len(values)), image.tolist())
    alone = Ratio([1.0, 3.0], [1.0, 1.0], [0, 0])
    found = bootstrap_all([[several], [alone], [alone, several]])
    assert vars(found[0]) == pytest.approx(vars(bootstrap([several])))
    assert found[1].value == 2
    assert np.isnan([found[1].low, found[1].high]).all()
    assert found[2].low < found[2].high
