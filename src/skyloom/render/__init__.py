"""From configurations to image files."""

from skyloom.render.documents import parse_overrides
from skyloom.render.driver import RenderedFiles, render_config

__all__ = ["RenderedFiles", "parse_overrides", "render_config"]
