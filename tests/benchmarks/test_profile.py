"""The command that profiles encoders."""

from pathlib import Path

import pandas as pd
import pytest

from benchmarks import profile as profile_module
from benchmarks.profile import ProfileSetting, main, profile_encoder, published_encoders


def test_thirteen_encoders() -> None:
    names = published_encoders()
    assert len(names) == 13
    assert "se_resnext101" in names
    assert "tiny" not in names


def test_numbers() -> None:
    setting = ProfileSetting(image_size=64, batch_size=1, width=8, levels=(3, 4, 5), repeats=1, device="cpu", threads=1)
    small = profile_encoder(encoder="tiny", setting=setting)
    larger = profile_encoder(
        encoder="tiny",
        setting=ProfileSetting(
            image_size=128, batch_size=1, width=8, levels=(3, 4, 5), repeats=1, device="cpu", threads=1
        ),
    )
    assert small.encoder_mparams == pytest.approx(0.0823)
    assert small.model_mparams > small.encoder_mparams
    # Convolutions on four times the pixels.
    assert larger.encoder_gflops == pytest.approx(4 * small.encoder_gflops, rel=0.01)
    assert larger.model_gflops > larger.encoder_gflops
    assert small.forward_s > 0
    assert small.step_s > 0


def test_command_goes_on_after_a_failure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    in_own_process = profile_module._in_own_process

    def flawed(name: str, setting: ProfileSetting) -> profile_module.Profile:
        if name == "dpn92":
            raise RuntimeError("its process died")
        return in_own_process(name, setting)

    monkeypatch.setattr(profile_module, "_in_own_process", flawed)
    out = tmp_path / "table.csv"
    sizes = ["--image-size", "64", "--width", "8", "--repeats", "1", "--threads", "1", "--device", "cpu"]
    main(["--encoders", "dpn92", "tiny", "--out", str(out), *sizes])
    table = pd.read_csv(out)
    assert table.encoder.tolist() == ["tiny"]
    assert 0 < table.step_peak_mib[0] < 1000
    assert "dpn92: RuntimeError: its process died" in capsys.readouterr().out


def test_unknown_encoder(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--encoders", "resnet35"])
    assert "no such encoders: ['resnet35']; choose among ['dpn92'" in capsys.readouterr().err
