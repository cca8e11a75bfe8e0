"""Optimizers with proximal operators."""
