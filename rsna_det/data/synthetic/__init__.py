"""Drawn radiographs in the challenge's layout: shapes, anatomy, pathology, exposure, DICOM files, a data module."""
