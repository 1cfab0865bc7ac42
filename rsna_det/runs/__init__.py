"""The life of one training run: its folder, session, resume, provenance, tracking."""
