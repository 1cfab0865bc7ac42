"""Scores over epochs, from hand-made tables."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from omegaconf import OmegaConf
from PIL import Image

from experiments.reporting.scores import _scores, score_curves
from experiments.reporting.study_report import StudyReport, Variant
from rsna_det.config.compose import compose_config
from rsna_det.config.console import set_up
from rsna_det.errors import DataError
from rsna_det.runs.folder import RunFolder
from tests.short_runs import short_run

STUDY = StudyReport(study="study", title="A study", option="seed", baseline="a")


def made_run(folder: Path, fold: int, **columns: list[float]) -> RunFolder:
    set_up()
    (folder / ".hydra").mkdir(parents=True)
    config = compose_config("train", short_run(Path("data"), f"data.fold={fold}"))
    OmegaConf.save(config, folder / ".hydra" / "config.yaml")
    table = pd.DataFrame({f"val/{name}": values for name, values in columns.items()})
    table.insert(0, "epoch", range(len(table)))
    table.to_csv(folder / "metrics.csv", index=False)
    return RunFolder(folder)


def test_the_scores_are_those_of_the_file(tmp_path: Path) -> None:
    run = made_run(tmp_path / "run", 1, map=[0.1, 0.2], map_best=[0.15, 0.25])
    table = _scores(run)
    assert table["fold"].unique().tolist() == [1]
    found = {panel: own.set_index("epoch")["value"].to_dict() for panel, own in table.groupby("panel")}
    assert found == {
        "mAP at the run's score threshold": {0: 0.1, 1: 0.2},
        "mAP at each epoch's best threshold": {0: 0.15, 1: 0.25},
    }


def test_the_figure_shows_every_variant(tmp_path: Path) -> None:
    runs = [made_run(tmp_path / str(n), n % 2, map=[0.1 * n, 0.2], map_best=[0.2, 0.3]) for n in range(4)]
    variants = [Variant(name="a", seeds={0: tuple(runs[:2])}), Variant(name="b", seeds={0: tuple(runs[2:])})]
    figure = score_curves(STUDY, variants, tmp_path).figure
    assert figure is not None
    pixels = np.asarray(Image.open(figure).convert("RGB")).reshape(-1, 3).astype(int)
    # The first two of the colours that variants have.
    for colour in ((31, 119, 180), (255, 127, 14)):
        assert (np.abs(pixels - np.array(colour)).max(axis=1) < 8).sum() > 200


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column epoch"),
        ("epoch,val/map\n0,0.1\n", "no column val/map_best"),
        ("epoch,val/map,val/map_best\n", "no rows"),
    ],
)
def test_a_damaged_table_is_named(tmp_path: Path, text: str, message: str) -> None:
    run = made_run(tmp_path / "run", 0, map=[0.1], map_best=[0.1])
    run.metrics_file.write_text(text)
    with pytest.raises(DataError, match=rf"metrics\.csv .*{message}"):
        _scores(run)
