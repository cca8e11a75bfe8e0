"""Published tables as commands."""
