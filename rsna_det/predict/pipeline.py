"""A batch of radiographs -> boxes: every member's network, their combination, candidates, detections.

The command and :class:`~rsna_det.predict.detector.Detector` both predict through :class:`Pipeline`, so that both detect
the same boxes.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int, UInt8
from torch import Tensor, nn

from rsna_det.boxes.anchors import pyramid_anchors
from rsna_det.boxes.decoding import candidate_deltas, candidates
from rsna_det.boxes.host import to_host
from rsna_det.config.memory import lack_of_memory
from rsna_det.data.cache.decoding_pool import Square
from rsna_det.errors import DataError, ResourceError
from rsna_det.evaluation.candidate_rows import CandidateRows
from rsna_det.evaluation.operating_point import OperatingPoint, image_detections
from rsna_det.models.ensemble import combine, with_percentile_sizes
from rsna_det.predict.ensemble_point import uses_percentiles
from rsna_det.predict.members import Member, load_model
from rsna_det.predict.plan import BOXES, LOADING, NETWORK, Timings
from rsna_det.structures import Candidates, DenseDeltas, Detections, HeadOutputs


@dataclass(frozen=True, kw_only=True)
class Images:
    """A batch of radiographs as the networks see them.

    Attributes:
        ids: a name for each.
        sizes: height and width of each radiograph, source pixels.
        pixels: their squares, network pixels.
    """

    ids: tuple[str, ...]
    sizes: Int[Tensor, "batch 2"]
    pixels: UInt8[Tensor, "batch 1 side side"]

    @classmethod
    def of(cls, squares: Mapping[str, Square]) -> "Images":
        """Stack squares by name."""
        return cls(
            ids=tuple(squares),
            sizes=torch.tensor([[square.height, square.width] for square in squares.values()]),
            pixels=torch.from_numpy(np.stack([square.pixels for square in squares.values()]))[:, None],
        )

    def only(self, rows: Sequence[int]) -> "Images":
        """Some of the images."""
        kept = list(rows)
        return Images(ids=tuple(self.ids[row] for row in kept), sizes=self.sizes[kept], pixels=self.pixels[kept])


@dataclass(frozen=True, kw_only=True)
class Predicted:
    """What an ensemble predicts for one batch.

    Attributes:
        ids: of the images.
        sizes: height and width of each image, source pixels.
        mean: candidates from the members' mean.
        percentile: the same with the sizes of the percentile rule; None where nobody needs them.
        probabilities: of the three categories; None for members without the global head.
    """

    ids: tuple[str, ...]
    sizes: Int[Tensor, "batch 2"]
    mean: Candidates
    percentile: Candidates | None
    probabilities: Float[Tensor, "batch 3"] | None


class Pipeline:
    """The members of an ensemble at one operating point."""

    def __init__(
        self,
        *,
        members: Sequence[Member],
        point: OperatingPoint,
        device: torch.device,
        keep_networks: bool,
        every_size_rule: bool,
        timings: Timings | None = None,
    ) -> None:
        """Take note of the members; networks are loaded when first used.

        Args:
            members: of the ensemble, one or more.
            point: how detections are made of candidates.
            device: of the networks.
            keep_networks: whether a network stays loaded when another is used; if not, there is only ever one.
            every_size_rule: whether candidates of the percentile rule are made even if the point does not use them.
            timings: where time is recorded.
        """
        self.members = tuple(members)
        self.point = point
        self.device = device
        self.timings = timings or Timings()
        self._keep_networks = keep_networks
        self._uses_percentiles = uses_percentiles(point, members=len(members))
        self._makes_percentiles = self._uses_percentiles or (every_size_rule and len(members) > 1)
        self._networks: dict[int, nn.Module] = {}

    def network(self, index: int) -> nn.Module:
        """A member's network on the device.

        Raises:
            DataError: if its checkpoint cannot be read.
        """
        if index not in self._networks:
            if not self._keep_networks:
                self._networks.clear()
            started = time.perf_counter()
            self._networks[index] = load_model(self.members[index]).to(self.device)
            self.timings.add(LOADING, time.perf_counter() - started)
        return self._networks[index]

    @torch.inference_mode()
    def outputs(self, index: int, images: Images) -> HeadOutputs:
        """What a member's network says of a batch, on the CPU.

        Raises:
            ResourceError: if the memory of the GPU or the machine is too small.
        """
        network = self.network(index)
        started = time.perf_counter()
        try:
            found: HeadOutputs = network(images.pixels.to(self.device, non_blocking=True))
        except (RuntimeError, MemoryError) as error:
            place = lack_of_memory(error)
            if place is None:
                raise
            raise ResourceError(
                f"{place} has too little memory for a batch of {len(images.ids)} images at {self.point.image_size} px: "
                "lower batch_size"
            ) from error
        on_cpu = self._on_cpu(found)
        self.timings.add(NETWORK, time.perf_counter() - started, len(images.ids))
        return on_cpu

    def _on_cpu(self, outputs: HeadOutputs) -> HeadOutputs:
        parts = [outputs.box_logits, self._deltas(outputs)]
        parts += [] if outputs.global_logits is None else [outputs.global_logits]
        box_logits, deltas, *global_logits = to_host(*parts)
        return replace(
            outputs,
            box_logits=box_logits,
            box_deltas=DenseDeltas(values=deltas),
            global_logits=global_logits[0] if global_logits else None,
        )

    def _deltas(self, outputs: HeadOutputs) -> Float[Tensor, "batch anchors 4"]:
        """The boxes: of one member those that it can detect, of several members those of all anchors.

        Which anchors an ensemble detects is known only when all members have seen the image, each after the other;
        their pyramids would take seven times the memory of their boxes until then.
        """
        if len(self.members) > 1:
            return outputs.box_deltas.dense()
        known = candidate_deltas(outputs, score_floor=self.point.score_floor, max_candidates=self.point.max_candidates)
        return known.values

    def not_finite(self, index: int, images: Images, outputs: HeadOutputs) -> dict[str, str]:
        """The images for which a member's outputs hold NaN or infinity, with what to do about each."""
        problem = (
            f"{self.members[index].path} gives NaN or infinity for it, which is not the same as no boxes: leave this "
            "checkpoint out, or use another of its run"
        )
        finite = outputs.finite_images(outputs.box_deltas.dense())
        return {name: problem for name, is_finite in zip(images.ids, finite.tolist(), strict=True) if not is_finite}

    def decode(self, images: Images, outputs: Sequence[HeadOutputs]) -> Predicted:
        """The prediction for a batch from every member's outputs, in the members' order."""
        started = time.perf_counter()
        mean = combine(outputs, score_floor=self.point.score_floor)
        percentile = None
        if self._makes_percentiles:
            smaller = with_percentile_sizes(mean, members=outputs, size_scale=self.point.size_scale)
            percentile = self._candidates(smaller, images)
        found = Predicted(
            ids=images.ids,
            sizes=images.sizes,
            mean=self._candidates(mean, images),
            percentile=percentile,
            probabilities=None if mean.global_logits is None else mean.global_logits.softmax(dim=1),
        )
        self.timings.add(BOXES, time.perf_counter() - started, len(images.ids))
        return found

    def predict(self, images: Images) -> Predicted:
        """The prediction for a batch.

        Raises:
            DataError: if a member's outputs for an image hold NaN or infinity.
        """
        outputs = [self.outputs(index, images) for index in range(len(self.members))]
        for index, found in enumerate(outputs):
            for name, problem in self.not_finite(index, images, found).items():
                raise DataError(f"{name}: {problem}")
        return self.decode(images, outputs)

    def detections(self, predicted: Predicted) -> list[Detections]:
        """The final boxes of each image, source pixels."""
        chosen = predicted.percentile if self._uses_percentiles else None
        return image_detections(_rows(predicted.mean if chosen is None else chosen), self.point)

    def _candidates(self, outputs: HeadOutputs, images: Images) -> Candidates:
        anchors = pyramid_anchors(
            image_size=self.point.image_size, feature_sizes=outputs.feature_sizes, levels=self.members[0].levels
        )
        return candidates(
            outputs=outputs,
            anchors=anchors,
            image_size=self.point.image_size,
            source_sizes=images.sizes,
            score_floor=self.point.score_floor,
            max_candidates=self.point.max_candidates,
        )


def _rows(batch: Candidates) -> CandidateRows:
    counts = batch.mask.sum(dim=1)
    return CandidateRows(
        boxes=batch.boxes[batch.mask],
        scores=batch.scores[batch.mask],
        offsets=torch.cat([counts.new_zeros(1), counts.cumsum(dim=0)]),
    )


def outputs_of(outputs: HeadOutputs, rows: Sequence[int]) -> HeadOutputs:
    """The outputs for some of a batch's images."""
    kept = list(rows)
    return replace(
        outputs,
        box_logits=outputs.box_logits[kept],
        box_deltas=DenseDeltas(values=outputs.box_deltas.dense()[kept]),
        global_logits=None if outputs.global_logits is None else outputs.global_logits[kept],
    )
