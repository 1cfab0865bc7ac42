"""Configurations: composed by Hydra, checked against signatures, handed on as typed options."""
