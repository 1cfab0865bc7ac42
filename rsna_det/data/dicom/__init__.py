"""DICOM files -> grey values: discovery, reading, display transforms."""
