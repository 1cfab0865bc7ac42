"""A drawn chest for the tests of anatomy and pathology."""

import numpy as np

from rsna_det.data.synthetic.anatomy import Anatomy, Chest, draw_chest
from rsna_det.data.synthetic.shapes import Frame


def chest_of(*, side: int = 128, seed: int = 0) -> Chest:
    rng = np.random.default_rng(seed)
    return draw_chest(anatomy=Anatomy.draw(rng), frame=Frame.draw(side=side, rng=rng), rng=rng)
