"""Parts of a cube: bands, pixels, regions of the sky, bins."""
