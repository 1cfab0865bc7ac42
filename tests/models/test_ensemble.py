"""Members' outputs against the oracle, anchor by anchor."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rsna_det.errors import ConfigError
from rsna_det.models.ensemble import combine, with_percentile_sizes
from rsna_det.structures import DenseDeltas, HeadOutputs
from tests.oracles import ensemble as oracle

ANCHORS = 4 * 9


def member(seed: int, *, global_head: bool = True, batch: int = 2, size: tuple[int, int] = (2, 2)) -> HeadOutputs:
    """Outputs as a trained network's: most logits far below 0, some near it."""
    generator = torch.Generator().manual_seed(seed)
    anchors = size[0] * size[1] * 9
    return HeadOutputs(
        box_logits=torch.randn(batch, anchors, 1, generator=generator) * 4 - 3,
        box_deltas=DenseDeltas(values=torch.randn(batch, anchors, 4, generator=generator)),
        global_logits=torch.randn(batch, 3, generator=generator) * 3 if global_head else None,
        feature_sizes=(size,),
    )


def sized(*sizes: float) -> list[HeadOutputs]:
    """Members of one anchor which differ in dw alone; dh is twice as much."""
    deltas = [torch.tensor([[[0.5, -0.5, size, 2 * size]]]) for size in sizes]
    logits = torch.zeros(1, 1, 1)
    return [
        HeadOutputs(box_logits=logits, box_deltas=DenseDeltas(values=d), global_logits=None, feature_sizes=((1, 1),))
        for d in deltas
    ]


@pytest.mark.parametrize("count", [1, 2, 3, 8])
def test_every_number_is_the_oracles(count: int) -> None:
    members = [member(seed) for seed in range(count)]
    mean = combine(members)
    smaller = with_percentile_sizes(mean, members=members, size_scale=1.6)
    for image in range(2):
        for anchor in range(ANCHORS):
            logits = [m.box_logits[image, anchor, 0].item() for m in members]
            deltas = [m.box_deltas.dense()[image, anchor].tolist() for m in members]
            assert mean.box_logits[image, anchor, 0].item() == pytest.approx(oracle.mean_logit(logits), rel=1e-6)
            score = mean.box_logits[image, anchor, 0].double().sigmoid().item()
            assert score == pytest.approx(oracle.mean_probability(logits), rel=1e-6)
            assert mean.box_deltas.dense()[image, anchor].tolist() == pytest.approx(
                oracle.mean_deltas(deltas), abs=1e-6
            )
            sizes = [oracle.percentile_size([d[i] for d in deltas], size_scale=1.6) for i in (2, 3)]
            assert smaller.box_deltas.dense()[image, anchor, 2:].tolist() == pytest.approx(sizes, abs=1e-6)
        assert mean.global_logits is not None
        classes = oracle.mean_classes([m.global_logits[image].tolist() for m in members if m.global_logits is not None])
        assert mean.global_logits[image].softmax(0).tolist() == pytest.approx(classes, abs=1e-6)
    assert torch.equal(smaller.box_logits, mean.box_logits)
    assert torch.equal(smaller.box_deltas.dense()[..., :2], mean.box_deltas.dense()[..., :2])


@pytest.mark.parametrize("count", [1, 2, 3, 7, 16])
def test_equal_members_give_themselves_to_the_bit(count: int) -> None:
    one = member(0)
    extreme = torch.tensor([0.0, -0.0, 1e-30, -1e-10, 3e-5, -150.0, 150.0, -3e4, 3e4])
    logits = one.box_logits.clone()
    logits[0, : len(extreme), 0] = extreme
    one = replace(one, box_logits=logits)
    members = [one] * count
    mean = combine(members)
    assert torch.equal(mean.box_logits, one.box_logits)
    assert torch.equal(mean.box_deltas.dense(), one.box_deltas.dense())
    assert torch.equal(
        with_percentile_sizes(mean, members=members, size_scale=1.6).box_deltas.dense(), one.box_deltas.dense()
    )


def test_scores_average_as_probabilities_and_not_as_logits() -> None:
    pair = [
        replace(m, box_logits=torch.full((1, 1, 1), x))
        for m, x in zip(sized(0, 0), (2.1972246, -4.5951199), strict=True)
    ]
    # 0.9 and 0.01: their mean is 0.455, the sigmoid of the mean logit would be 0.232.
    assert combine(pair).box_logits.sigmoid().item() == pytest.approx(0.455, abs=1e-6)


def test_percentiles_by_hand() -> None:
    # Of 0, 1, 2, 3, 4 the 20th percentile lies at place 0.8, the 80th at 3.2: 0.8 and 3.2.
    # 0.8 + (0.8 - 3.2) * 1.6 = 0.8 - 3.84 = -3.04
    members = sized(3, 0, 4, 1, 2)
    mean = combine(members)
    assert mean.box_deltas.dense().flatten().tolist() == [0.5, -0.5, 2, 4]
    smaller = with_percentile_sizes(mean, members=members, size_scale=1.6)
    assert smaller.box_deltas.dense().flatten().tolist() == pytest.approx([0.5, -0.5, -3.04, -6.08])
    # Of 1 and 2 they are 1.2 and 1.8: 1.2 - 0.6 * 0.5 = 0.9
    members = sized(2, 1)
    smaller = with_percentile_sizes(combine(members), members=members, size_scale=0.5)
    assert smaller.box_deltas.dense().flatten().tolist() == pytest.approx([0.5, -0.5, 0.9, 1.8])


def test_a_scale_of_nothing_is_the_20th_percentile() -> None:
    members = [member(seed) for seed in range(6)]
    smaller = with_percentile_sizes(combine(members), members=members, size_scale=0)
    stacked = np.stack([m.box_deltas.dense()[..., 2:].numpy() for m in members])
    assert smaller.box_deltas.dense()[..., 2:].numpy() == pytest.approx(np.percentile(stacked, 20, axis=0), abs=1e-6)


def test_members_without_the_global_head_have_no_say_in_it() -> None:
    one, other = member(0), member(1, global_head=False)
    mean = combine([other, one]).global_logits
    assert mean is not None
    assert one.global_logits is not None
    assert torch.allclose(mean.softmax(1), one.global_logits.softmax(1), atol=1e-6)
    assert combine([other, other]).global_logits is None


def test_members_keep_their_outputs() -> None:
    members = [member(0), member(1)]
    before = [m.box_deltas.dense().clone() for m in members]
    with_percentile_sizes(combine(members), members=members, size_scale=1.6)
    assert all(torch.equal(m.box_deltas.dense(), b) for m, b in zip(members, before, strict=True))


def test_members_that_speak_of_other_anchors_are_refused() -> None:
    with pytest.raises(ValueError, match="none"):
        combine([])
    with pytest.raises(ConfigError, match=r"member 2 has feature maps of \(\(1, 4\),\)"):
        combine([member(0), member(1, size=(1, 4))])
    with pytest.raises(ValueError, match="the same batch"):
        combine([member(0), member(1, batch=3)])
    with pytest.raises(ValueError, match="size_scale of -1"):
        with_percentile_sizes(combine([member(0)]), members=[member(0)], size_scale=-1)
