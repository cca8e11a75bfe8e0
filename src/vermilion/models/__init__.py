"""Parameters to expected cubes."""
