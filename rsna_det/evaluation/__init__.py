"""From detections to numbers, tables and pictures. Needs tables only: no model, no images."""
