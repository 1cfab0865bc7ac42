"""Numbers and boxes -> pictures."""
