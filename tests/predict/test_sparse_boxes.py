"""A trained checkpoint finds the same boxes, whether they are computed at the candidates or at every anchor."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import candidates
from rsna_det.data.cache.pixels import DicomSource
from rsna_det.data.dicom.reading import find_dicoms
from rsna_det.data.layout import IMAGES_DIR
from rsna_det.models.ensemble import combine, with_percentile_sizes
from rsna_det.models.retinanet import MultiTaskRetinaNet
from rsna_det.predict.members import find_members, load_model
from rsna_det.structures import Candidates, DenseDeltas, HeadOutputs

PIXELS = 1e-4
"""Source pixels by which a box may differ: a convolution of a window sums in another order."""


def everywhere(outputs: HeadOutputs) -> HeadOutputs:
    return replace(outputs, box_deltas=DenseDeltas(values=outputs.box_deltas.dense()))


@torch.inference_mode()
def compared(networks: Sequence[MultiTaskRetinaNet], root: Path, *, side: int, floor: float, images: int) -> int:
    """Compare batches of two; the number of candidates."""
    paths = dict(islice(sorted(find_dicoms(root / IMAGES_DIR).items()), images))
    source, found = DicomSource(paths=paths, side=side), 0
    for pair in zip(*[iter(paths)] * 2, strict=True):
        batch = torch.stack([torch.from_numpy(source.read(name))[None] for name in pair])
        sizes = torch.tensor([source.sizes[name] for name in pair])
        members = [network(batch) for network in networks]
        dense = [everywhere(member) for member in members]
        outputs = [(members[0], dense[0])]
        if len(members) > 1:
            few, all_anchors = combine(members, score_floor=floor), combine(dense)
            sized = [with_percentile_sizes(few, members=members, size_scale=1.6)]
            sized += [with_percentile_sizes(all_anchors, members=dense, size_scale=1.6)]
            outputs = [(few, all_anchors), (sized[0], sized[1])]
        anchors = pyramid_anchors(image_size=side, feature_sizes=members[0].feature_sizes, levels=networks[0].levels)
        numbers = {"anchors": anchors, "image_size": side, "source_sizes": sizes, "score_floor": floor}
        for ours, theirs in outputs:
            tables = [candidates(outputs=out, max_candidates=300, **numbers) for out in (ours, theirs)]  # type: ignore[arg-type]
            assert_same(*tables)
            found += int(tables[0].mask.sum())
    return found


def assert_same(ours: Candidates, theirs: Candidates) -> None:
    assert torch.equal(ours.mask, theirs.mask)
    assert torch.equal(ours.scores, theirs.scores)
    assert torch.equal(ours.counts_before_cap, theirs.counts_before_cap)
    torch.testing.assert_close(ours.boxes, theirs.boxes, rtol=0, atol=PIXELS)


@pytest.mark.parametrize("members", [1, 2])
def test_on_drawn_radiographs(trained_folds: list[Path], synthetic_root: Path, members: int) -> None:
    found = find_members([str(run / "checkpoints" / "last.ckpt") for run in trained_folds[:members]])
    networks = [load_model(member) for member in found]
    assert compared(networks, synthetic_root, side=64, floor=0.005, images=12) > 100


def test_on_real_radiographs(trained_folds: list[Path], real_data: Path) -> None:
    """With anchors of 256 px, of which a part passes the floor."""
    networks = [load_model(member) for member in find_members(str(trained_folds[0] / "checkpoints" / "last.ckpt"))]
    assert compared(networks, real_data, side=256, floor=0.005, images=6) > 50
