"""Drawn radiographs as DICOM files."""

from pathlib import Path

import numpy as np
import pydicom

from rsna_det.data.synthetic.dicom_file import to_dicom
from rsna_det.data.synthetic.radiograph import draw_radiograph


def test_files_are_valid_jpeg_baseline_dicoms(synthetic_root: Path) -> None:
    path = sorted((synthetic_root / "stage_2_train_images").iterdir())[0]
    # pydicom warns of values against their representation, and warnings are errors here: "34" for an age would be.
    dataset = pydicom.dcmread(path)
    assert dataset.file_meta.TransferSyntaxUID == pydicom.uid.JPEGBaseline8Bit
    assert dataset.PatientID == path.stem
    assert (dataset.Modality, dataset.BodyPartExamined) == ("CR", "CHEST")
    assert dataset.ViewPosition in {"PA", "AP"}
    assert dataset.PatientAge.endswith("Y")
    for keyword in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        assert dataset[keyword].value.is_valid
    assert dataset.pixel_array.shape == (64, 64)
    assert dataset.pixel_array.dtype == np.uint8
    assert dataset.pixel_array.std() > 20


def test_jpeg_keeps_the_drawing() -> None:
    drawn = draw_radiograph(seed=0, index=0, side=128)
    decoded = to_dicom(drawn).pixel_array
    assert np.abs(decoded.astype(int) - drawn.pixels).mean() < 4
