"""Box coding against the slow oracle."""

import math

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from rsna_det.boxes.coding import decode, encode
from tests.oracles import coding as oracle
from tests.oracles.cases import integer_boxes, near_boxes, real_boxes
from tests.properties import examples

corner = st.integers(0, 256)
delta = st.floats(-60, 60, width=32, allow_subnormal=False)


def encoded_by_oracle(boxes: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    pairs = zip(boxes, anchors, strict=True)
    return np.array([oracle.encode(box=box, anchor=anchor) for box, anchor in pairs]).reshape(-1, 4)


def decoded_by_oracle(deltas: np.ndarray, anchors: np.ndarray) -> np.ndarray:
    pairs = zip(deltas, anchors, strict=True)
    return np.array([oracle.decode(deltas=row, anchor=anchor) for row, anchor in pairs]).reshape(-1, 4)


def test_thousands_of_random_boxes_encode_as_the_oracle_says() -> None:
    rng = np.random.default_rng(1)
    anchors = np.concatenate([real_boxes(rng=rng, count=2000, side=256), integer_boxes(rng=rng, count=2000, side=64)])
    near = near_boxes(rng=rng, boxes=anchors[:1500], shift=0.3)
    boxes = np.concatenate([near, integer_boxes(rng=rng, count=2500, side=64, smallest=0)])
    found = encode(boxes=torch.from_numpy(boxes), anchors=torch.from_numpy(anchors))
    assert found.dtype == torch.float32
    np.testing.assert_allclose(found.numpy(), encoded_by_oracle(boxes, anchors), rtol=2e-5, atol=2e-4)


@given(x=corner, y=corner, width=st.integers(0, 3), height=st.integers(0, 3), size=st.sampled_from([1, 4, 16, 512]))
@examples(300)
def test_tiny_boxes_count_one_pixel(x: int, y: int, width: int, height: int, size: int) -> None:
    box, anchor = [x, y, x + width, y + height], [8.0, 24.0, 8.0 + size, 24.0 + 2 * size]
    found = encode(boxes=torch.tensor([box], dtype=torch.float32), anchors=torch.tensor([anchor]))
    np.testing.assert_allclose(found[0].numpy(), oracle.encode(box=box, anchor=anchor), rtol=1e-5, atol=1e-5)


def test_centre_of_a_tiny_box_is_its_own() -> None:
    # Box 10..10.5 on both axes has centre 10.25 although its size counts 1 px; anchor centre 8, size 16:
    # dx = 2.25 / 16 / 0.1 = 1.40625, dw = log(1 / 16) / 0.2 = -13.86294.
    found = encode(boxes=torch.tensor([[10.0, 10.0, 10.5, 10.5]]), anchors=torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    np.testing.assert_allclose(found[0].numpy(), [1.40625, 1.40625, -13.862944, -13.862944], rtol=1e-6)


@given(deltas=st.tuples(delta, delta, delta, delta), x=corner, y=corner, width=st.integers(1, 128))
@examples(300)
def test_decoding_equals_the_oracle(deltas: tuple[float, ...], x: int, y: int, width: int) -> None:
    anchor = [x, y, x + width, y + 32]
    found = decode(deltas=torch.tensor([deltas], dtype=torch.float32), anchors=torch.tensor([anchor]).float())
    wanted = oracle.decode(deltas=deltas, anchor=anchor)
    # Two rounded terms of up to 62.5 anchor sizes are added.
    np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-5, atol=62.5 * 128 * 1e-6)


def test_growth_is_bounded_just_at_the_bound_and_far_beyond() -> None:
    bound = math.log(1000 / 16) / 0.2  # 20.676
    anchor = torch.tensor([[0.0, 0.0, 16.0, 16.0]])
    for value in (bound - 0.01, bound, bound + 0.01, 1e4, 1e30):
        deltas = torch.tensor([[0.0, 0.0, value, -value]])
        found = decode(deltas=deltas, anchors=anchor)
        assert torch.isfinite(found).all()
        wanted = oracle.decode(deltas=deltas[0].tolist(), anchor=anchor[0].tolist())
        np.testing.assert_allclose(found[0].numpy(), wanted, rtol=1e-5, atol=1e-3)
    # At the bound a 16-px anchor is 1000 px wide: 8 - 500 .. 8 + 500.
    np.testing.assert_allclose(found[0, [0, 2]].numpy(), [-492, 508], rtol=1e-5)


def test_only_growth_is_bounded() -> None:
    # dw = -30 -> 16 * exp(-6) = 0.03966 px: shrinking below 16 / 62.5 = 0.256 px stays possible.
    found = decode(deltas=torch.tensor([[0.0, 0.0, -30.0, -30.0]]), anchors=torch.tensor([[0.0, 0.0, 16.0, 16.0]]))
    np.testing.assert_allclose((found[0, 2] - found[0, 0]).item(), 16 * math.exp(-6), rtol=1e-3)


def test_decoding_keeps_leading_axes() -> None:
    rng = np.random.default_rng(2)
    anchors = real_boxes(rng=rng, count=3 * 40, side=200)
    deltas = rng.normal(0, 2, size=anchors.shape).astype(np.float32)
    found = decode(deltas=torch.from_numpy(deltas).view(3, 40, 4), anchors=torch.from_numpy(anchors).view(3, 40, 4))
    assert found.shape == (3, 40, 4)
    np.testing.assert_allclose(found.view(-1, 4).numpy(), decoded_by_oracle(deltas, anchors), rtol=1e-5, atol=1e-3)


def test_decoding_undoes_encoding() -> None:
    rng = np.random.default_rng(3)
    boxes = integer_boxes(rng=rng, count=3000, side=64)
    anchors = real_boxes(rng=rng, count=3000, side=128)
    deltas = encode(boxes=torch.from_numpy(boxes), anchors=torch.from_numpy(anchors))
    found = decode(deltas=deltas, anchors=torch.from_numpy(anchors)).numpy()
    # A box more than 1000 / 16 times its anchor cannot come back.
    sizes, anchor_sizes = boxes[:, 2:] - boxes[:, :2], anchors[:, 2:] - anchors[:, :2]
    reachable = (sizes / anchor_sizes < 62).all(axis=1)
    assert reachable.sum() > 2900
    np.testing.assert_allclose(found[reachable], boxes[reachable], atol=2e-3)


def test_nothing_to_code() -> None:
    nothing = torch.zeros(0, 4)
    assert encode(boxes=nothing, anchors=nothing).shape == (0, 4)
    assert decode(deltas=nothing, anchors=nothing).shape == (0, 4)
    assert decode(deltas=torch.zeros(2, 0, 4), anchors=torch.zeros(2, 0, 4)).shape == (2, 0, 4)
