"""Decoded radiographs in one memory-mapped array: building, index, decoding workers, resizing."""
