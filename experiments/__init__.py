"""One module per table or figure of the paper: finished runs in, table or figure out."""
