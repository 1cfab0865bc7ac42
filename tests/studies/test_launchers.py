"""What Hydra makes of a sweep: pinned here, since Hydra offers it in an internal class only."""

import pytest

from rsna_det.config.console import set_up
from rsna_det.errors import ConfigError
from rsna_det.studies.launchers import sweep_overrides


@pytest.fixture(autouse=True)
def resolvers() -> None:
    set_up()


def test_a_sweep_is_the_product_of_the_studys_and_the_command_lines_values() -> None:
    jobs = sweep_overrides(["sweep=negatives", "data.root=somewhere", "data.fold=0", "seed=3,4"])
    expected = [
        ["data.fold=0", f"data.train_negatives={negatives}", "sweep=negatives", "data.root=somewhere", f"seed={seed}"]
        for negatives in ("True", "False")
        for seed in (3, 4)
    ]
    assert sorted(map(sorted, jobs)) == sorted(map(sorted, expected))


def test_the_command_line_wins_over_the_study() -> None:
    jobs = sweep_overrides(["sweep=negatives", "data.root=somewhere", "data.num_folds=2", "data.train_negatives=true"])
    assert [[word for word in job if word.startswith("data.fold=")] for job in jobs] == [
        ["data.fold=0"],
        ["data.fold=1"],
    ]


def test_lists_and_quotes_stay_one_value() -> None:
    jobs = sweep_overrides(["sweep=p2", "data.root='some where'", "data.fold=0"])
    levels = sorted(word for job in jobs for word in job if word.startswith("model.levels="))
    assert levels == ["model.levels=[2,3,4,5,6,7]", "model.levels=[3,4,5,6,7]"]
    assert all("data.root='some where'" in job for job in jobs)


def test_hydras_own_options_are_no_part_of_a_run() -> None:
    jobs = sweep_overrides(["sweep=negatives", "data.root=somewhere", "data.fold=0", "hydra.verbose=true"])
    assert not any(word.startswith("hydra") for job in jobs for word in job)


@pytest.mark.parametrize("wrong", ["data.fold=[", "foo"])
def test_an_override_that_cannot_be_read_is_named(wrong: str) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        sweep_overrides(["sweep=negatives", "data.root=somewhere", wrong])
