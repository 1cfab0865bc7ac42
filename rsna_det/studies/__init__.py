"""The runs of a study and where they stand: ``python -m rsna_det.studies <study>``."""
