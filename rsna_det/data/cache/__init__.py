"""Decoded radiographs in one memory-mapped array: building, opening, index, decoding workers, resizing."""
