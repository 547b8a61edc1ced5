"""Fields in Python: from a catalogue to an image, every stage through its hook."""

from skyloom.render.field.result import Field
from skyloom.render.field.run import render_field

__all__ = ["Field", "render_field"]
