"""``python -m vermilion``."""

from .cli import main

main()
