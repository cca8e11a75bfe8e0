"""FITS: bytes accounted for, roles of HDUs, axes and coordinates, units of errors, masks; `assemble` makes a cube of them."""
