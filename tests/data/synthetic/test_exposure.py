"""Attenuation to grey values."""

import numpy as np

from rsna_det.data.synthetic.exposure import expose


def test_exposure_keeps_the_order_of_grey() -> None:
    step = np.repeat(np.array([0.2, 0.7], np.float32), 32)[None, :].repeat(64, axis=0)
    grey = expose(step, rng=np.random.default_rng(0))
    assert grey.dtype == np.uint8
    assert grey[:, 4:28].mean() + 50 < grey[:, 36:60].mean()
