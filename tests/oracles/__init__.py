"""Slow oracles: each restates a definition as plainly as possible, with loops and exact arithmetic where that helps.

They share no code with the package, so that an error in one is not an error in both. Nothing here is vectorised.
"""
