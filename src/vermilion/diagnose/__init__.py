"""Numbers about a Result, in numpy."""
