"""NASNet-A-Mobile against what is published of it."""

import pytest
import timm
import torch

from rsna_det.models.nasnet_mobile import AveragePoolInside, NASNetAMobile


@pytest.fixture(scope="module")
def network() -> NASNetAMobile:
    model = timm.create_model("nasnetamobile").eval()
    assert isinstance(model, NASNetAMobile)
    return model


def test_parameters_and_names_of_the_public_weights(network: NASNetAMobile) -> None:
    state = network.state_dict()
    assert sum(parameter.numel() for parameter in network.parameters()) == 5_289_978
    assert len(state) == 1318
    assert state["conv0.conv.weight"].shape == (32, 3, 3, 3)
    assert state["cell_stem_0.conv_1x1.conv.weight"].shape == (11, 32, 1, 1)
    assert state["reduction_cell_0.conv_1x1.conv.weight"].shape == (88, 264, 1, 1)
    assert state["cell_15.conv_1x1.conv.weight"].shape == (176, 1056, 1, 1)
    assert state["last_linear.weight"].shape == (1000, 1056)
    assert not any(
        key.startswith(("cell_4.", "cell_5.", "cell_10.", "cell_11.", "cell_16.", "cell_17.")) for key in state
    )


def test_maps(network: NASNetAMobile) -> None:
    with torch.no_grad():
        assert network.forward_features(torch.zeros(1, 3, 224, 224)).shape == (1, 1056, 7, 7)
        assert network(torch.zeros(1, 3, 224, 224)).shape == (1, 1000)


def test_first_cells_of_a_stage_skip_back_to_the_stage_before(network: NASNetAMobile) -> None:
    """Cell 6 takes the reduction's output and cell 3's (the large network: the last but one), as published."""
    outputs: dict[str, torch.Tensor] = {}
    inputs: dict[str, tuple[torch.Tensor, ...]] = {}
    handles = []
    for name, module in network.named_children():
        handles.append(module.register_forward_hook(lambda _, __, output, name=name: outputs.update({name: output})))
        handles.append(module.register_forward_pre_hook(lambda _, args, name=name: inputs.update({name: args})))
    with torch.no_grad():
        network.forward_features(torch.randn(1, 3, 64, 64))
    for handle in handles:
        handle.remove()
    sources = {
        "cell_0": ("cell_stem_1", "cell_stem_0"),
        "cell_1": ("cell_0", "cell_stem_1"),
        "reduction_cell_0": ("cell_3", "cell_2"),
        "cell_6": ("reduction_cell_0", "cell_3"),
        "cell_7": ("cell_6", "reduction_cell_0"),
        "reduction_cell_1": ("cell_9", "cell_8"),
        "cell_12": ("reduction_cell_1", "cell_9"),
    }
    for cell, (first, second) in sources.items():
        assert inputs[cell][0] is outputs[first], cell
        assert inputs[cell][1] is outputs[second], cell


def test_average_takes_no_padding_in() -> None:
    """Means of a constant are the constant, up to the border; with padded zeros a corner would be 4/9 of it."""
    pool = AveragePoolInside(3, 2)
    for side, expected in ((8, 4), (7, 4)):
        pooled = pool(torch.full((1, 2, side, side), 5.0))
        assert pooled.shape == (1, 2, expected, expected)
        assert torch.allclose(pooled, torch.tensor(5.0))


def test_all_average_pools_are_exchanged(network: NASNetAMobile) -> None:
    pools = [type(module).__name__ for module in network.modules() if "AvgPool2dSame" in type(module).__name__]
    assert pools == []
    assert sum(isinstance(module, AveragePoolInside) for module in network.modules()) >= 4


def test_inherited_intermediates_are_refused(network: NASNetAMobile) -> None:
    with pytest.raises(NotImplementedError, match="features_only"):
        network.forward_intermediates(torch.zeros(1, 3, 64, 64))
