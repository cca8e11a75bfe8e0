"""Broad-band images: which file or HDU is what of which band, and the cube that they make."""
