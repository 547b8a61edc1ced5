"""Tables of galaxies named on the command line."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.table import Table

__all__ = ["read_table"]


def read_table(path: Path) -> Table:
    """Read a table in any format that astropy knows.

    Raises
    ------
    ConditionsError
        When it cannot be read or has no rows.
    """
    from astropy.table import Table

    from skyloom.errors import ConditionsError

    try:
        table = Table.read(path)
    except Exception as exc:  # every format of astropy's has errors of its own
        reason = str(exc).partition("\n")[0]  # astropy adds the table of all its formats
        raise ConditionsError(f"'{path}' cannot be read as a table: {type(exc).__name__}: {reason}") from exc
    if not len(table):
        raise ConditionsError(f"'{path}' has no rows")
    return table
