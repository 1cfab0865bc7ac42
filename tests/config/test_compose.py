"""Where the configurations lie."""

from pathlib import Path

import pytest

import rsna_det
from rsna_det.config.compose import CONF, asked_for, conf_folder, with_home


def test_in_a_checkout_they_lie_beside_the_package() -> None:
    package = Path(rsna_det.__file__).parent
    assert package.parent / "conf" == CONF
    assert (CONF / "train.yaml").is_file()


def test_in_a_wheel_they_lie_inside_it_whatever_lies_beside(tmp_path: Path) -> None:
    package = tmp_path / "site-packages" / "rsna_det"
    (package / "conf").mkdir(parents=True)
    (package.parent / "conf").mkdir()
    assert conf_folder(package) == package / "conf"


def test_an_installation_without_them_says_so(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match=r"without its configurations \(conf/\): install rsna-det again"):
        conf_folder(tmp_path / "rsna_det")


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("resume=last", "last"),
        ("resume='runs/a b/x'", "runs/a b/x"),
        ('resume="runs/x=1"', "runs/x=1"),
        ("resume=runs/2026-11-26_01-50-22_54835a", "runs/2026-11-26_01-50-22_54835a"),
        ("resume=~/x", "~/x"),
        ("resume='~/x'", "~/x"),
        ("resume=2026", "2026"),
        ("resume=a,b", "a,b"),
        ("resume=null", None),
        ("resume=", None),
        ("resumed=x", None),
    ],
)
def test_a_value_is_asked_for_without_its_quotes(argument: str, value: str | None) -> None:
    assert asked_for(["a=1", argument, "b=2"], "resume") == value


def test_the_home_folder_in_hydras_own_folders(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    assert with_home("hydra.run.dir='~/a'") == "hydra.run.dir='/home/somebody/a'"
    assert with_home("hydra.sweep.dir=~/a") == "hydra.sweep.dir='/home/somebody/a'"
    for other in ("hydra.run.dir=a/~b", "paths.runs='~/a'", "-m", "hydra.run.dir=/a"):
        assert with_home(other) == other
