"""Noise of the channels of a cube that has none in its file."""
