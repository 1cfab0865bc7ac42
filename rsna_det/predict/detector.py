"""Checkpoints as a function from radiographs to boxes: the Python API of prediction."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from rsna_det.config.devices import pick_device
from rsna_det.data.cache.decoding_pool import Square, worker_pool
from rsna_det.data.cache.resize import fit_square
from rsna_det.data.dicom.limits import DEFAULT_LIMITS, Limits
from rsna_det.data.dicom.reading import read_radiograph
from rsna_det.errors import InvalidValueError
from rsna_det.evaluation.operating_point import OperatingPoint
from rsna_det.predict.chunks import predicted_chunks
from rsna_det.predict.ensemble_point import choose_point
from rsna_det.predict.members import Member, find_members
from rsna_det.predict.pipeline import Images, Pipeline
from rsna_det.predict.plan import check_batch_size
from rsna_det.structures import Detections


@dataclass(frozen=True, kw_only=True)
class Prediction:
    """One file's result.

    Attributes:
        path: of the file.
        detections: its boxes in source pixels; None if it could not be read, which is not the same as no boxes.
        problem: why it could not be read, and what to do; None if it could.
    """

    path: Path
    detections: Detections | None
    problem: str | None


class Detector:
    """Detects pneumonia in chest radiographs, with one checkpoint or an ensemble of several.

    All members stay in memory. For many files, or an ensemble too large for memory, use the command
    ``python -m rsna_det.predict``, which decodes on all cores and loads one member at a time. It detects the same
    boxes, to the last digit at the same batch size. For research use only, not for diagnosis.

    >>> from rsna_det import Detector
    >>> detector = Detector.from_checkpoints("runs/*/checkpoints/best.ckpt")
    >>> found = detector("radiograph.dcm")
    >>> found.boxes.shape == (len(found.scores), 4)
    True
    """

    def __init__(
        self,
        *,
        members: Sequence[Member],
        operating_point: OperatingPoint,
        device: torch.device,
        batch_size: int,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """Load the members; :meth:`from_checkpoints` finds them.

        Args:
            members: one or more that can be combined.
            operating_point: how detections are made of candidates.
            device: of the networks.
            batch_size: images that the networks see at once in :meth:`predict`.
            limits: on the files, and which doubts about their pixels are accepted.

        Raises:
            InvalidValueError: for a batch size below 1.
            DataError: if a checkpoint cannot be read.
        """
        check_batch_size(batch_size)
        self.members = tuple(members)
        self.operating_point = operating_point
        self.device = device
        self.batch_size = batch_size
        self.limits = limits
        self._pipeline = Pipeline(
            members=members, point=operating_point, device=device, keep_networks=True, every_size_rule=False
        )
        for index in range(len(members)):
            self._pipeline.network(index)

    @classmethod
    def from_checkpoints(
        cls,
        checkpoints: str | Path | Sequence[str | Path],
        *,
        device: str | torch.device = "auto",
        batch_size: int = 8,
        operating_point: OperatingPoint | str | Path | None = None,
        cut: float | None = None,
        nms_iou: float | None = None,
        relative_cut: float | None = None,
        size_rule: str | None = None,
        size_scale: float | None = None,
        rescale_factor: float | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> "Detector":
        """A detector from checkpoints of ``rsna_det.train``; several are combined anchor by anchor before NMS.

        >>> detector = Detector.from_checkpoints(["runs/a/checkpoints/best.ckpt"], device="cpu", cut=0.3)
        >>> detector.operating_point.cut
        0.3

        Args:
            checkpoints: a file, a glob, or several of them.
            device: ``auto`` (a GPU if there is one), ``cpu``, ``cuda``, or a device of torch.
            batch_size: images that the networks see at once in :meth:`predict`.
            operating_point: the point or its file; None for the file next to the checkpoints, or else for what they
                were trained with.
            cut: score threshold: boxes scored above it are detections. None for the operating point's, as below.
            nms_iou: of two boxes with a higher IoU, the one scored lower is dropped.
            relative_cut: boxes scored below this share of the image's highest score are dropped.
            size_rule: ``none``, ``percentile`` or ``rescale`` (see :class:`OperatingPoint`).
            size_scale: of the percentile rule.
            rescale_factor: of the rescale rule.
            limits: on the files, and which doubts about their pixels are accepted; arrays have none.

        Raises:
            ConfigError: if the members or their operating points cannot be combined.
            InvalidValueError: for a number out of range or an unknown device.
            MissingFileError: for a path or glob that matches nothing.
            DataError: for a damaged file.
            ResourceError: if a GPU is asked for and there is none.
        """
        members = find_members(checkpoints)
        changes = {
            "cut": cut,
            "nms_iou": nms_iou,
            "relative_cut": relative_cut,
            "size_rule": size_rule,
            "size_scale": size_scale,
            "rescale_factor": rescale_factor,
        }
        given = Path(operating_point).expanduser() if isinstance(operating_point, str | Path) else operating_point
        point = choose_point(members, given, changes)
        return cls(members=members, operating_point=point, device=_device(device), batch_size=batch_size, limits=limits)

    def __call__(self, image: str | Path | np.ndarray) -> Detections:
        """The boxes of one radiograph in its own (source) pixels, highest score first.

        >>> from rsna_det import read_radiograph
        >>> pixels = read_radiograph("radiograph.dcm")
        >>> pixels.dtype, pixels.ndim
        (dtype('uint8'), 2)
        >>> detector(pixels).scores.tolist() == detector("radiograph.dcm").scores.tolist()
        True

        Args:
            image: a DICOM file, or grey values as :func:`~rsna_det.data.dicom.reading.read_radiograph` returns them:
                uint8, [height, width], air dark and bone bright.

        Raises:
            DicomError: for a file that is missing, damaged or no radiograph.
            InvalidValueError: for an array of another type or shape.
            DataError: if a member's outputs hold NaN or infinity.
            ResourceError: if the GPU's memory is too small.
        """
        pixels = read_radiograph(image, limits=self.limits) if isinstance(image, str | Path) else _checked(image)
        height, width = pixels.shape
        side = self.operating_point.image_size
        square = Square(pixels=fit_square(pixels, side), height=height, width=width, seconds=0.0)
        name = str(image) if isinstance(image, str | Path) else "image"
        return self._pipeline.detections(self._pipeline.predict(Images.of({name: square})))[0]

    def predict(self, paths: Iterable[str | Path], *, batch_size: int | None = None) -> Iterator[Prediction]:
        """Predict files one after another, in their order; a damaged file does not stop the others.

        Files are read as results are taken: memory holds two batches, however many files there are. The last digits
        of a score may depend on the batch size, since one image and several are summed in different orders.

        >>> for prediction in detector.predict(["radiograph.dcm", "missing.dcm"]):
        ...     print(prediction.path, prediction.problem or f"{len(prediction.detections.scores)} boxes")
        radiograph.dcm ... boxes
        missing.dcm missing.dcm: there is no such file; ...

        Args:
            paths: DICOM files; for those of a folder ``sorted(Path(folder).glob("*.dcm"))``.
            batch_size: images that the networks see at once; None for the detector's.

        Yields:
            A result for each path; one that could not be read has a ``problem`` and no ``detections``.

        Raises:
            InvalidValueError: for a batch size below 1, or a single path in place of several.
            ResourceError: if the GPU's memory is too small.
        """
        if isinstance(paths, str | Path):
            raise InvalidValueError(f"paths is a single path, {paths}; expected several: call the detector with one")
        size = self.batch_size if batch_size is None else batch_size
        check_batch_size(size)
        return self._predictions((Path(path).expanduser() for path in paths), size)

    def _predictions(self, paths: Iterator[Path], batch_size: int) -> Iterator[Prediction]:
        # Paths may repeat, numbers do not.
        files = ((str(number), path) for number, path in enumerate(paths))
        with worker_pool(workers=1, images=0) as pool:
            for chunk in predicted_chunks(
                files,
                pipeline=self._pipeline,
                pool=pool,
                images_in_chunk=batch_size,
                batch_size=batch_size,
                limits=self.limits,
            ):
                found = {
                    name: detections
                    for batch in chunk.predicted
                    for name, detections in zip(batch.ids, self._pipeline.detections(batch), strict=True)
                }
                for name, path in chunk.files.items():
                    yield Prediction(path=path, detections=found.get(name), problem=chunk.problems.get(name))


def _device(device: str | torch.device) -> torch.device:
    if isinstance(device, torch.device):
        return device
    if device in ("auto", "cpu", "cuda"):
        return pick_device(device, option="device")
    try:
        return torch.device(device)
    except RuntimeError as error:
        raise InvalidValueError(f"device is {device!r}; expected auto, cpu, cuda or a device of torch") from error


def _checked(image: object) -> np.ndarray:
    """Grey values, contiguous.

    Raises:
        InvalidValueError: if the image is something else; saying what.
    """
    found = f"a {type(image).__name__}"
    if isinstance(image, np.ndarray):
        if image.dtype == np.uint8 and image.ndim == 2 and image.size:
            return np.ascontiguousarray(image)
        found = f"a {image.dtype} array of shape {image.shape}"
    raise InvalidValueError(
        f"image is {found}; expected the path of a DICOM file, or grey values as a uint8 array [height, width] like "
        "those of rsna_det.read_radiograph"
    )
