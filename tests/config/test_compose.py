"""Where the configurations lie."""

from pathlib import Path

import pytest

import rsna_det
from rsna_det.config.compose import CONF, conf_folder


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
