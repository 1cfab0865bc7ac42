"""Bootstrap intervals, paired comparisons, power and training noise."""
