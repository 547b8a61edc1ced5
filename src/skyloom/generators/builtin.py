"""The built-in generator `cosmos`, its family, and the answer to requests that nobody else answers."""

from __future__ import annotations

from pathlib import Path

from skyloom.descriptors import GeneratorEntry, GeneratorFamily
from skyloom.hookspecs import hookimpl
from skyloom.profiles import Generator, GeneratorSpec, ProfileBatch, ProfileRequest

__all__ = [
    "COSMOS_WEIGHTS",
    "skyloom_after_profiles",
    "skyloom_generator_families",
    "skyloom_generators",
    "skyloom_profiles",
]

COSMOS_WEIGHTS = Path(__file__).parent / "weights" / "cosmos.safetensors"


def _cosmos_spec() -> GeneratorSpec:
    from skyloom.generators.checkpoint import read_card

    return read_card(COSMOS_WEIGHTS).spec


def _cosmos_card() -> str:
    from skyloom.generators.checkpoint import read_card

    return read_card(COSMOS_WEIGHTS).to_markdown()


def _load_cvae(path: Path) -> Generator:
    from skyloom.generators.cvae.load import load_generator  # imports torch

    generator: Generator = load_generator(path)
    return generator


@hookimpl
def skyloom_generators() -> list[GeneratorEntry]:
    """Give `cosmos`."""
    return [
        GeneratorEntry(
            "cosmos",
            spec=_cosmos_spec,
            factory=lambda: _load_cvae(COSMOS_WEIGHTS),
            summary="conditional VAE on real galaxies of HST and JWST",
            card=_cosmos_card,
        )
    ]


@hookimpl
def skyloom_generator_families() -> list[GeneratorFamily]:
    """Give the conditional VAE."""
    return [GeneratorFamily("cvae", load=_load_cvae, summary="conditional VAE of Sersic residuals")]


@hookimpl(trylast=True)
def skyloom_profiles(request: ProfileRequest) -> ProfileBatch:
    """Sample the generator that the request names."""
    from skyloom.generators.registry import sample_request

    return sample_request(request)


@hookimpl(trylast=True)
def skyloom_after_profiles(batch: ProfileBatch) -> ProfileBatch:
    """Pass the batch on, to the wrappers that replace it."""
    return batch
