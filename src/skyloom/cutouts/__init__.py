"""Real galaxies: readers, noise, framing, Sersic fits, and Skyloom's own files of cutouts."""

__all__: list[str] = []
