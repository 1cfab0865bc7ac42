"""Detections -> numbers, from tables alone: no model, no images."""
