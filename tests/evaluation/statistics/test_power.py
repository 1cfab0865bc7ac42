"""What a difference needs: by formula against simulated samples, and the sentences."""

import math
from typing import Any

import numpy as np
import pytest

from rsna_det.evaluation.statistics.power import requirements, seeds_needed, times_as_many_images
from rsna_det.evaluation.statistics.training_noise import TrainingNoise


def test_images_needed_grow_with_the_square_of_the_error() -> None:
    # (1.96 + 0.84) standard errors of 0.005 each are 0.014: detected four times in five with the present images.
    assert times_as_many_images(0.005, difference=0.014) == pytest.approx(1.0, rel=0.01)
    assert times_as_many_images(0.01, difference=0.014) == pytest.approx(4.0, rel=0.01)


def test_training_noise_leaves_less_to_the_images() -> None:
    # Of a variance of 0.005 squared, 0.003 squared is training: 0.004 squared is left.
    assert times_as_many_images(0.004, difference=0.014, training_error=0.003) == pytest.approx(1.0, rel=0.01)
    assert math.isinf(times_as_many_images(0.004, difference=0.014, training_error=0.006))


def test_seeds_needed_by_hand() -> None:
    # 2 x 0.006 squared / seeds is to be 0.003 squared: eight seeds; 0.014 needs an error of 0.004997.
    noise = TrainingNoise(common=0.006, by_image=0.0, freedom=4)
    assert seeds_needed(noise, standard_error=0.004, difference=0.01401, seeds=3) == 8
    assert math.isinf(seeds_needed(noise, standard_error=0.006, difference=0.014, seeds=3))


def test_what_differs_image_by_image_shrinks_with_seeds() -> None:
    # Of 0.006 squared over patients, 2 x 0.006 squared / 3 is that of three seeds: 0.0000120 are left to the images,
    # and 2 x 0.000036 / seeds may be 0.0000250 - 0.0000120: six seeds.
    noise = TrainingNoise(common=0.0, by_image=0.006, freedom=4)
    assert seeds_needed(noise, standard_error=0.006, difference=0.01401, seeds=3) == 6


def test_several_comparisons_need_more() -> None:
    # Of four Holm begins with 0.0125: (2.498 + 0.842) / (1.960 + 0.842) squared is 1.42.
    one = times_as_many_images(0.01, difference=0.005)
    assert times_as_many_images(0.01, difference=0.005, comparisons=4) / one == pytest.approx(1.42, abs=0.005)


@pytest.mark.parametrize("training", [0.0, 0.01])
def test_the_power_that_is_promised_is_there(training: float) -> None:
    generator = np.random.default_rng(2)
    deviation, images, significant = 0.1, 100, 0
    times = times_as_many_images(deviation / math.sqrt(images), difference=0.035, training_error=training)
    more = round(images * times)
    error = math.hypot(deviation / math.sqrt(more), training)
    for _ in range(300):
        differences = generator.normal(0.035, deviation, more) + generator.normal(0, training)
        significant += abs(differences.mean()) > 1.96 * error
    # Of 300 at 0.8: 240, with a standard error of 7.
    assert 218 <= significant <= 262


def test_the_statement_names_images_folds_and_seeds() -> None:
    # 0.005 needs an error of 0.001785: (0.01 / 0.001785) squared is 31.4 times 100 images, 63 folds of 50.
    given: dict[str, Any] = {"standard_error": 0.01, "images": 100, "folds": 2, "seeds": 1, "comparisons": 1}
    said = requirements(noise=None, **given)
    assert said.startswith("To detect a difference of 0.005 with 80% power at the 5% level, the study needs")
    assert "about 3,140 images (31.4 times the 100 images of 2 folds here, or 63 folds of this size)" in said
    assert "training noise comes on top" in said
    several = requirements(noise=None, **given | {"comparisons": 4})
    assert "at the 5% level (Holm-adjusted for 4 comparisons), the study" in several
    noise = TrainingNoise(common=0.01, by_image=0.0, freedom=4)
    few = requirements(noise=noise, **given | {"standard_error": 0.001, "seeds": 3})
    # 2 x 0.01 squared / (0.001785 squared - 0.001 squared) is 91.5.
    assert "no number of images suffices with 3 seeds per variant; " in few
    assert "; on the present images it needs 92 seeds per variant." in few
    quiet = TrainingNoise(common=0.001, by_image=0.0, freedom=4)
    assert "on the present images no number of seeds suffices" in requirements(noise=quiet, **given | {"seeds": 3})


def test_variants_that_do_not_differ_have_no_power_estimate() -> None:
    said = requirements(standard_error=0.0, noise=None, images=40, folds=1, seeds=1, comparisons=1)
    assert said == "The power cannot be estimated, since the variants do not differ on any image."
