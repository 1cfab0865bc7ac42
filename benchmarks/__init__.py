"""Speed and memory as ratios against a peer in the same run, medians over repeats: ``make bench``."""
