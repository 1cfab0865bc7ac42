"""Radiographs and checkpoints -> boxes: the command ``python -m rsna_det.predict`` and its Python API."""
