"""What the modules of tables and figures share: finished runs -> comparison -> report."""
