"""Pictures of numbers; every function returns Axes."""
