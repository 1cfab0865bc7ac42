"""From images to head outputs."""
