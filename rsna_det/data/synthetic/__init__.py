"""Drawn radiographs in the challenge's layout: anatomy, pathology, DICOM files, a data module."""
