"""Faults that files, disks and machines have: what comes of them is the right result or an error with a remedy."""
