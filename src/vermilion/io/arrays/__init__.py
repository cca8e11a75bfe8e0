"""Named arrays of other formats: which is the cube, how its axes and pixels run, and the cube that they make."""
