"""Files on disk: atomic writes, locks, JSON, paths and Markdown tables."""
