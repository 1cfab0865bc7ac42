"""A drawn radiograph -> a DICOM file with the challenge's attributes."""

import io
import uuid

from PIL import Image
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.encaps import encapsulate
from pydicom.uid import UID, JPEGBaseline8Bit, SecondaryCaptureImageStorage

from rsna_det.data.synthetic.radiograph import Radiograph, digest

_JPEG_QUALITY = 90
_IMPLEMENTATION = UID("2.25.214710530318416374218460218834096551471")


def to_dicom(radiograph: Radiograph) -> FileDataset:
    """The radiograph as a DICOM data set with the challenge's attributes (Secondary Capture, JPEG baseline)."""
    side = radiograph.pixels.shape[0]
    jpeg = io.BytesIO()
    Image.fromarray(radiograph.pixels).save(jpeg, "JPEG", quality=_JPEG_QUALITY)
    study, series, instance = (_uid(f"{kind} {radiograph.image_id}") for kind in ("study", "series", "instance"))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = SecondaryCaptureImageStorage, instance
    meta.TransferSyntaxUID, meta.ImplementationClassUID = JPEGBaseline8Bit, _IMPLEMENTATION
    dataset = FileDataset("", Dataset(), file_meta=meta, preamble=b"\0" * 128)
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.SOPClassUID, dataset.SOPInstanceUID = SecondaryCaptureImageStorage, instance
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.StudyDate, dataset.StudyTime, dataset.StudyID, dataset.AccessionNumber = "19010101", "000000.00", "", ""
    dataset.Modality, dataset.ConversionType, dataset.ReferringPhysicianName = "CR", "WSD", ""
    dataset.SeriesDescription = f"view: {radiograph.view}"
    dataset.PatientName = dataset.PatientID = radiograph.image_id
    dataset.PatientBirthDate, dataset.PatientSex = "", radiograph.sex
    dataset.PatientAge = f"{radiograph.age:03d}Y"
    dataset.BodyPartExamined, dataset.ViewPosition, dataset.PatientOrientation = "CHEST", radiograph.view, ""
    dataset.SeriesNumber = dataset.InstanceNumber = 1
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation = 1, "MONOCHROME2"
    dataset.Rows = dataset.Columns = side
    dataset.PixelSpacing = [round(0.15 * 1024 / side, 5)] * 2
    dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation = 8, 8, 7, 0
    dataset.LossyImageCompression, dataset.LossyImageCompressionMethod = "01", "ISO_10918_1"
    dataset.LossyImageCompressionRatio = round(side * side / len(jpeg.getvalue()), 2)
    dataset.PixelData = encapsulate([jpeg.getvalue()])
    return dataset


def _uid(text: str) -> UID:
    """A valid unique identifier below the root that is reserved for UUIDs."""
    return UID(f"2.25.{uuid.UUID(bytes=digest(text), version=4).int}")
