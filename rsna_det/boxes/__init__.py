"""Everything that knows boxes and learns nothing: pure functions."""
