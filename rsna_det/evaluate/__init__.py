"""The command that scores runs and predictions: ``python -m rsna_det.evaluate``."""
