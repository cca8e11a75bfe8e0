"""``python -m vermilion.cli``."""

from . import main

main()
