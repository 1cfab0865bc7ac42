"""The quick choice of folds is scikit-learn's, group by group."""

import numpy as np
import pytest
from sklearn.model_selection import StratifiedGroupKFold

from rsna_det.data.labels.splitting import GroupFolds


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("folds", [2, 4, 5, 10])
def test_folds_are_those_of_scikit_learn(seed: int, folds: int) -> None:
    """With people of one image and of many, and with ties on every step."""
    generator = np.random.default_rng(seed)
    images = 400
    categories = generator.choice(3, size=images, p=(0.225, 0.332, 0.443))
    people = np.arange(images) if seed % 3 == 0 else generator.integers(images // (1 + seed), size=images)
    options = {"n_splits": folds, "shuffle": True, "random_state": seed}
    ours = [list(found) for _, found in GroupFolds(**options).split(categories, categories, people)]
    theirs = [list(found) for _, found in StratifiedGroupKFold(**options).split(categories, categories, people)]
    assert ours == theirs


def test_each_choice_is_scikit_learns() -> None:
    """On counts that never arise together, with exact ties among the folds."""
    generator = np.random.default_rng(0)
    quick, plain = GroupFolds(n_splits=4), StratifiedGroupKFold(n_splits=4)
    chosen = set()
    for _ in range(500):
        counts = generator.integers(4, size=(4, 3)).astype(float)
        totals = counts.sum(axis=0).astype(int) + 5
        group = generator.integers(3, size=3).astype(float)
        expected = plain._find_best_fold(counts.copy(), totals, group)
        assert quick._find_best_fold(counts, totals, group) == expected
        chosen.add(expected)
    assert chosen == {0, 1, 2, 3}


def test_scikit_learn_asks_the_quick_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version may call it by another name: then folds would take ten times as long again."""
    asked = []
    original = GroupFolds._find_best_fold
    monkeypatch.setattr(
        GroupFolds, "_find_best_fold", lambda self, **counts: asked.append(1) or original(self, **counts)
    )
    categories, people = np.arange(30) % 3, np.arange(30)
    list(GroupFolds(n_splits=3).split(categories, categories, people))
    assert len(asked) == 30
