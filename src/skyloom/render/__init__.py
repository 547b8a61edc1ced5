"""From configurations to image files."""

from skyloom.render.config import RenderedFiles, parse_overrides, render_config

__all__ = ["RenderedFiles", "parse_overrides", "render_config"]
