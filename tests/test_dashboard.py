"""The workspace of a study: what it shows and of which runs, written to a file or saved in W&B."""

import importlib
import socket
import sys
from pathlib import Path
from typing import Any

import pytest

from experiments.reporting.study_report import StudyReport
from rsna_det import dashboard
from rsna_det.config.console import set_up
from rsna_det.dashboard import variant_options, ws
from rsna_det.studies.launchers import sweep_overrides
from rsna_det.studies.plan import plan_study, record_launch
from tests.short_runs import short_run


@pytest.mark.parametrize("name", ["augmentations", "encoders", "p2", "pretraining", "resolution"])
def test_the_option_that_a_report_names_distinguishes_its_variants(name: str) -> None:
    set_up()
    report: StudyReport = importlib.import_module(f"experiments.{name}").REPORT
    runs = sweep_overrides([f"sweep={name}", "data.root=somewhere", "data.fold=0"])
    variants = [dashboard._composed(overrides) for overrides in (*runs[:2], runs[-1])]
    assert sorted(variant_options(variants)) == sorted(report.option.split(","))


def test_two_options_where_one_does_not_distinguish_all() -> None:
    set_up()
    variants = []
    for levels in ("[2,3,4,5,6,7]", "[3,4,5,6,7]"):
        for dropout in (0, 0.5):
            options = [f"model.levels={levels}", f"model.dropout_global={dropout}", "data.root=somewhere"]
            variants.append(dashboard._composed(options))
    assert sorted(variant_options(variants)) == ["model.dropout_global", "model.levels"]
    assert variant_options(variants[:1]) == variant_options([]) == []


@pytest.fixture(scope="module")
def studies(synthetic_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which a study was started."""
    set_up()
    folder = tmp_path_factory.mktemp("studies")
    record_launch(
        plan_study(["sweep=negatives", *short_run(synthetic_root, "logger=wandb", f"paths.studies={folder}")])
    )
    return folder


@pytest.fixture
def workspace(studies: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the workspace goes, on a machine without a network; it is not there yet."""

    def refuse(*args: Any, **options: Any) -> None:
        raise AssertionError(f"the network is used: {args}")

    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refuse)
    for name in ("create_connection", "getaddrinfo"):
        monkeypatch.setattr(socket, name, refuse)
    path = studies / "negatives" / "workspace.json"
    path.unlink(missing_ok=True)
    return path


def command(monkeypatch: pytest.MonkeyPatch, workspace: Path, *arguments: str) -> None:
    place = f"paths.studies={workspace.parent.parent}"
    monkeypatch.setattr(sys, "argv", ["dashboard", "negatives", place, *arguments])
    dashboard.main()


def names(section: ws.Section, attribute: str) -> list[list[str]]:
    return [[metric.name for metric in getattr(panel, attribute)] for panel in section.panels]


def test_it_is_written_to_a_file_without_any_network(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    command(monkeypatch, workspace, "logger.wandb.project=chests")
    said = capsys.readouterr().out
    assert said.count("\n") == 1
    assert said.startswith(
        f"the workspace of negatives is in {workspace}, not saved in W&B: logger.wandb.mode is offline"
    )
    assert "wandb login" in said
    view = ws.internal.View.model_validate_json(workspace.read_text())
    (runs,) = view.spec.section.run_sets
    assert view.project == "chests"
    assert [(f["key"]["name"], f["op"], f["value"]) for f in runs.filters["filters"]] == [("group", "=", "negatives")]
    assert [key.name for key in runs.grouping] == ["data.value.train_negatives"]
    read = ws.Workspace._from_model(view)
    assert read.settings.x_axis == "epoch"
    curves, losses, _, bars, images = read.sections
    assert names(curves, "y") == [["val/map"], ["val/map_best"]]
    assert all(panel.x.name == "epoch" for panel in (*curves.panels, *losses.panels))
    assert ["val/box_regression"] in names(losses, "y")
    assert ["val/map_best.max", "val/map_best.last"] in names(bars, "metrics")
    assert [panel.media_keys for panel in images.panels] == [["val/detections"]]


def test_it_is_saved_if_the_user_is_logged_in(
    workspace: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    saved = []

    def save(self: ws.Workspace) -> Any:
        saved.append((self.entity, self.project, self.name))
        self._internal_name = "nw-abc-v"
        return self

    monkeypatch.setattr(ws.Workspace, "save", save)
    monkeypatch.setattr(ws.Workspace, "url", "https://example.org/workspace")
    monkeypatch.setattr(dashboard, "server_problem", lambda: None)
    monkeypatch.setattr(dashboard, "logged_in", lambda: True)
    monkeypatch.setattr(dashboard, "default_entity", lambda: "me")
    command(monkeypatch, workspace, "logger.wandb.mode=online")
    command(monkeypatch, workspace, "logger.wandb.mode=online", "logger.wandb.entity=us")
    assert saved == [("me", "rsna-det", "study negatives"), ("us", "rsna-det", "study negatives")]
    assert "https://example.org/workspace" in capsys.readouterr().out
    assert not workspace.exists()


@pytest.mark.parametrize(
    ("unreachable", "logged_in", "message"),
    [
        ("W&B cannot be reached", True, "not saved in W&B: W&B cannot be reached"),
        (None, False, "not saved in W&B: you are not logged in"),
        (None, True, "not saved in W&B: ConnectionError: gone"),
    ],
)
def test_it_is_written_to_a_file_when_it_cannot_be_saved(
    unreachable: str | None,
    logged_in: bool,
    message: str,
    workspace: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def gone() -> str:
        raise ConnectionError("gone")

    monkeypatch.setattr(dashboard, "server_problem", lambda: unreachable)
    monkeypatch.setattr(dashboard, "logged_in", lambda: logged_in)
    monkeypatch.setattr(dashboard, "default_entity", gone)
    command(monkeypatch, workspace, "logger.wandb.mode=online")
    assert message in capsys.readouterr().out
    assert workspace.is_file()


def test_runs_that_do_not_log_to_wandb_have_none(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(SystemExit, match="the runs of negatives do not log to W&B"):
        command(monkeypatch, workspace, "logger=csv")


def test_a_bug_keeps_its_traceback_on_the_console_and_in_a_file(
    workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*args: Any) -> None:
        raise ZeroDivisionError("a bug")

    monkeypatch.setattr(dashboard, "study_workspace", fails)
    with pytest.raises(ZeroDivisionError, match="a bug"):
        command(monkeypatch, workspace)
    assert "in fails" in (workspace.parent / "dashboard.log").read_text()
    assert not workspace.exists()
