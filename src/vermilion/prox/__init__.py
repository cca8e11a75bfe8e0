"""Proximal operators: maps (x, step) to x."""
