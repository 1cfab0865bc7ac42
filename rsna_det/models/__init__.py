"""Images -> head outputs."""
