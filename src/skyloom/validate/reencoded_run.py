"""What the metrics of re-encoded structure need, for every sample of a validation."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from skyloom.stamps import Cutout
from skyloom.validate.reencoded import Reencoder, encoder_among
from skyloom.validate.reencoded_colour import colour_figures
from skyloom.validate.reference import Reference
from skyloom.validate.report_data import Sample
from skyloom.validate.run_plan import Plan
from skyloom.validate.run_samples import default_refit

__all__ = ["reencoded_contexts"]


def reencoded_contexts(
    plan: Plan, real: Sequence[Cutout], sets: Mapping[str, Sequence[Cutout]], samples: Mapping[str, Sample]
) -> dict[str, dict[str, Any]]:
    """Entries of the metrics' contexts, by sample.

    A model is encoded by itself; Sersic profiles and mocks, and models that cannot encode, by the first model that can.

    Parameters
    ----------
    plan : Plan
    real : sequence of Cutout
        Those that the other samples are counterparts of.
    sets, samples : mapping
        Cutouts and measured samples by name.

    Returns
    -------
    dict
        See `skyloom.validate.reencoded.Reencoder.figures` and `skyloom.validate.reencoded_colour.colour_figures`; empty
        without an encoder, or without pixels of real galaxies.
    """
    common = encoder_among(plan.generators.values())
    if common is None or isinstance(plan.real, Reference):
        return {}
    reencoders: dict[int, Reencoder] = {}
    found: dict[str, dict[str, Any]] = {}
    for name, sample in samples.items():
        if name == "real":
            continue
        generator = plan.generators.get(name)
        encoder = encoder_among([generator]) or common
        reencoder = reencoders.setdefault(id(encoder), Reencoder(encoder, real))
        rows = None if sample.role == "mock" else [int(row) for row in sample.table["real_row"]]
        found[name] = reencoder.figures(sets[name], rows)
        if generator is not None:
            found[name] |= colour_figures(encoder, generator, real, default_refit, seed=plan.seed)
    return found
