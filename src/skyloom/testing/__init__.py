"""What plugin authors test their generators with, and our own tests too."""

__all__: list[str] = []
