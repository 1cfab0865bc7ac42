"""What is computed again for the backward pass: gradients to the bit, less memory, and nothing held afterwards."""

import contextlib
import gc
import weakref

import pytest
import torch
from torch import Tensor, nn

from rsna_det.models import encoder as encoder_module
from rsna_det.models import recomputing
from rsna_det.models.cost import network_cost
from rsna_det.models.recomputing import recomputed_norms, telling
from tests.models.build import build_encoder, build_model, grey_images


def gradients(encoder: nn.Module, images: Tensor) -> dict[str, Tensor | None]:
    encoder.zero_grad()
    torch.autograd.backward(torch.stack([(f.square().mean() + f.mean()).float() for f in encoder(images)]).sum())
    return {name: parameter.grad for name, parameter in encoder.named_parameters()}


def without(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoder_module, "recomputed_norms", lambda _: contextlib.nullcontext())


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("name", ["test_efficientnet", "resnet18", "nasnetamobile", "legacy_seresnet18", "densenet121"])
def test_gradients_are_those_of_keeping_everything(
    name: str, precision: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    encoder, images = build_encoder(name), grey_images(side=64, batch=2)
    with torch.autocast("cpu", dtype=precision, enabled=precision is torch.bfloat16):
        ours = gradients(encoder, images)
        without(monkeypatch)
        wanted = gradients(encoder, images)
    for parameter, gradient in wanted.items():
        found = ours[parameter]
        assert (found is None) is (gradient is None), parameter
        assert found is None or gradient is None or torch.equal(found, gradient), parameter


def test_asking_twice_gives_the_same() -> None:
    encoder = build_encoder("resnet18")
    loss = encoder(grey_images(side=64))[-1].square().mean()
    weight = encoder.backbone.conv1.weight  # type: ignore[union-attr]
    (first,) = torch.autograd.grad(loss, [weight], retain_graph=True)  # type: ignore[list-item]
    (second,) = torch.autograd.grad(loss, [weight])  # type: ignore[list-item]
    assert torch.equal(first, second)


def test_what_is_kept_by_hand() -> None:
    """Convolution, batch norm, ReLU, convolution on 8 x 8 cells of 4 channels: 1 KiB a map.

    Kept are the image, the first convolution's result (of the batch norm) and not the ReLU's, which both the ReLU and
    the second convolution need.
    """
    layers = [nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.Conv2d(4, 4, 3, padding=1)]
    network, image = nn.Sequential(*layers).eval(), torch.randn(1, 4, 8, 8)
    maps: list[Tensor] = []
    note = lambda tensor: maps.append(tensor) if tensor.dim() == 4 and tensor.shape[-1] == 8 else None  # noqa: E731
    with telling(note), recomputed_norms(network):
        network(image)
    assert {tensor.data_ptr() for tensor in maps} == {image.data_ptr(), maps[1].data_ptr()}
    assert torch.allclose(maps[1], layers[0](image))


def test_nothing_changes_for_statistics_that_are_learnt(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second pass would count the batch twice."""
    torch.manual_seed(0)
    made = []
    for recompute in (True, False):
        torch.manual_seed(0)
        encoder = build_encoder("resnet18", freeze_statistics=False).train()
        if not recompute:
            without(monkeypatch)
        made.append((gradients(encoder, grey_images(side=64, batch=2)), dict(encoder.named_buffers())))
    for ours, wanted in zip(*made, strict=True):
        assert ours.keys() == wanted.keys()
        for name in ours:
            assert torch.equal(ours[name], wanted[name]), name  # type: ignore[arg-type]


def test_nothing_is_held_after_the_graph() -> None:
    encoder = build_encoder("resnet18")
    seen: list[weakref.ref[Tensor]] = []
    with telling(lambda tensor: seen.append(weakref.ref(tensor))):
        features = encoder(grey_images(side=64))
    assert len(seen) > 50
    del features
    gc.collect()
    held = [ref() for ref in seen]
    own = {tensor.data_ptr() for tensor in [*encoder.parameters(), *encoder.buffers()]}
    assert [tensor.shape for tensor in held if tensor is not None and tensor.data_ptr() not in own] == []
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in encoder.modules())


def test_a_change_in_place_before_the_backward_pass_is_an_error() -> None:
    layers = nn.Sequential(nn.BatchNorm2d(2), nn.ReLU(), nn.Conv2d(2, 2, 1)).eval()
    image = torch.randn(1, 2, 4, 4)
    with recomputed_norms(layers):
        loss = layers(image).sum()
    image.add_(1)
    with pytest.raises(RuntimeError, match="changed in place"):
        torch.autograd.backward(loss)


def test_the_counted_cost_knows_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def activations() -> float:
        return network_cost(lambda: build_model("resnet18", levels=(3, 4, 5)), image_size=128).activations_mib

    ours = activations()
    without(monkeypatch)
    everything = activations()
    # In float32: the stem's ReLU on 64 x 64 cells of 64 channels is 1 MiB, the first ReLU of a block on 32 x 32 cells
    # of 64 channels 1/4 MiB, of later stages half as much each: 1 + 2 (1/4 + 1/8 + 1/16 + 1/32) = 1.9375.
    assert everything - ours == pytest.approx(1.9375)


def test_without_gradients_no_hook_is_set() -> None:
    encoder = build_encoder("resnet18")
    with torch.no_grad(), recomputed_norms(encoder):
        assert not any(module._forward_hooks for module in encoder.modules())
    with recomputed_norms(encoder):
        assert any(module._forward_hooks for module in encoder.modules())
    assert recomputing._TOLD.get() is None
