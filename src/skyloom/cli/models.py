"""``skyloom models``: the models there are, and their cards."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from skyloom.profiles import GeneratorSpec

__all__ = ["command"]


@click.command("models", epilog="Example:  skyloom models cosmos")
@click.argument("name", required=False)
def command(name: str | None) -> None:
    """List the models; with NAME, which may be a weights file, show that model's card."""
    from skyloom.errors import ModelNotFoundError, SkyloomError
    from skyloom.generators import list_models
    from skyloom.manager import lookup, provider

    if name is None:
        for entry in list_models().values():
            click.echo(f"{entry.name}  {entry.summary}  [{provider('skyloom_generators', entry.name)}]")
            try:
                spec = entry.read_spec()
            except SkyloomError as exc:  # one damaged file must not hide the other models
                click.echo(f"    cannot be used: {exc}")
                continue
            for line in _lines(spec):
                click.echo(f"    {line}")
        return
    if name.endswith(".safetensors"):
        from skyloom.generators.checkpoint import read_card

        click.echo(read_card(Path(name)).to_markdown())
        return
    entry = lookup("skyloom_generators", name, noun="model", error=ModelNotFoundError)
    if entry.card is not None:
        click.echo(entry.card())
        return
    click.echo(f"# {entry.name}\n\n{entry.summary}\n")
    for line in _lines(entry.read_spec()):
        click.echo(f"- {line}")


def _lines(spec: GeneratorSpec) -> list[str]:
    """What a spec says, one line each."""
    from skyloom.units import COLUMN_UNITS

    units = COLUMN_UNITS | {"surface_brightness": "mag(AB)/arcsec2"}
    lines = [f"{name}: {low:g} to {high:g} {units.get(name, '')}".rstrip() for name, (low, high) in spec.ranges.items()]
    if spec.bands:
        lines.append(f"bands: {', '.join(spec.bands)}")
    lines.append(f"needs: {', '.join(spec.required)}")
    if spec.weights_sha256:
        lines.append(f"weights: SHA-256 {spec.weights_sha256}")
    return lines
