"""A run's folder: its names are those that the configurations give, and what is damaged is named."""

from pathlib import Path

import pytest

from rsna_det.errors import ConfigError, DataError, MissingFileError, StorageError
from rsna_det.runs.folder import RunFolder
from rsna_det.runs.records import Result, write_record
from rsna_det.training.epoch_table import EpochTable
from tests.short_runs import options_of


def test_the_configurations_name_the_same_files(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path / "run")
    options = options_of(tmp_path, folder.path, "logger=wandb", "callbacks=every_epoch")
    callbacks = {name: node or {} for name, node in options.callbacks.items()}
    assert Path(callbacks["predictions"]["folder"]) == folder.tables.folder
    assert Path(callbacks["images"]["folder"]) == folder.pictures
    assert Path(callbacks["plan"]["folder"]) == folder.path
    assert Path(options.logger["csv"]["path"]) == folder.metrics_file
    assert Path(options.logger["wandb"]["run_dir"]) == folder.path
    for name, checkpoint in (("best", folder.best_checkpoint), ("last", folder.last_checkpoint)):
        assert Path(callbacks[name]["dirpath"]) / f"{callbacks[name]['filename']}.ckpt" == checkpoint


def test_the_options_are_those_that_were_saved(tmp_path: Path) -> None:
    saved = options_of(tmp_path, tmp_path / "run", "seed=7")
    assert RunFolder(tmp_path / "run").options() == saved
    assert RunFolder(tmp_path / "run").options(run_dir="elsewhere").run_dir == Path("elsewhere")


def test_no_run_and_no_configuration_are_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(ConfigError, match=r"is not the folder of a run: there is no .*config\.yaml"):
        folder.options()
    folder.composed_config.parent.mkdir()
    for text in ("a: [1", "just words", "a: 1", "decoding: {}"):
        folder.composed_config.write_text(text)
        with pytest.raises(ConfigError, match=r"config\.yaml"):
            folder.options()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "{}",
        '{"epochs": "3"}',
        '{"epochs": 3, "seconds": 1.0, "best_val_map": 0.1, "metrics": {}, "more": 1}',
    ],
)
def test_a_damaged_result_is_named_with_the_remedy(text: str, tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.result() is None
    folder.result_file.write_text(text)
    with pytest.raises(DataError, match=r"result\.json is damaged .*: remove it, and the run resumes"):
        folder.result()


def test_a_result_is_read_as_it_was_written(tmp_path: Path) -> None:
    folder, result = RunFolder(tmp_path), Result(epochs=3, seconds=1.5, best_val_map=None, metrics={"val/map": 0.25})
    write_record(folder.result_file, result)
    assert folder.result() == result
    assert folder.is_finished(epochs=3)
    assert not folder.is_finished(epochs=4)


def test_damaged_provenance_is_named(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    assert folder.provenance() is None
    folder.provenance_file.write_text('{"seed": 0}')
    with pytest.raises(DataError, match=r"provenance\.json is damaged \(it lacks configuration; .*it lacks starts"):
        folder.provenance()


def test_a_folder_in_a_files_place_is_named_with_the_remedy(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    for path in (run.metrics_file, run.provenance_file, run.result_file):
        path.mkdir()
    readers = {"metrics": lambda: EpochTable(path=str(run.metrics_file)), "result": run.result}
    for name, read in {**readers, "provenance": run.provenance}.items():
        expected = rf"{name}\.\w+ cannot be read \(Is a directory\): a folder lies where the file belongs: move it away"
        with pytest.raises(StorageError, match=expected):
            read()


def test_metrics_are_checked(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    with pytest.raises(MissingFileError, match=r"metrics\.csv is missing"):
        folder.metrics()
    for text, problem in (
        ("", "has no column epoch, val/map"),
        ("epoch,val/map\n", "has no rows"),
        ("epoch\n1\n", "no column val/map"),
    ):
        folder.metrics_file.write_text(text)
        with pytest.raises(DataError, match=problem):
            folder.metrics(needed=["val/map"])
    folder.metrics_file.write_text("epoch,val/map\n0,0.5\n")
    assert folder.metrics(needed=["val/map"])["val/map"].tolist() == [0.5]
