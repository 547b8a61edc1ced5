"""The summary of a run, as JSON in the output folder."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from skyloom.files import whole_file
from skyloom.render.receipts import versions

__all__ = ["Summary", "write_summary"]


@dataclass
class Summary:
    """What a run did. Times are wall-clock seconds, and processor seconds of all workers."""

    configuration: str
    workers: int
    shard: str | None = None
    started: str = field(default_factory=lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    interrupted: bool = False
    files: int = 0
    made: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    """Whole already, by their receipts."""
    repaired: dict[str, str] = field(default_factory=dict)
    """Made again, and what was wrong with them."""
    skipped: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    galaxies: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    galaxies_per_second: float = 0.0
    versions: dict[str, str] = field(default_factory=versions)


def write_summary(out: Path, summary: Summary) -> Path:
    """Write ``render_summary.json``, with the shard's number in its name where there is one.

    Returns
    -------
    pathlib.Path
    """
    shard = f".{summary.shard.replace('/', '-of-')}" if summary.shard else ""
    path = out / f"render_summary{shard}.json"
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(asdict(summary), indent=1) + "\n")
    return path
