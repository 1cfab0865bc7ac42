"""Files on disk: reading with named errors, atomic writes, locks, JSON, paths and tables."""
