"""Where plugins come in: every hook, in the order a galaxy meets them.

Three kinds. *collect*: every plugin is asked and all answers are kept; a name given twice is an error. *first
result*: one plugin may answer, the built-in otherwise; two that claim it are an error, and wrappers are
refused. *observe*: every plugin is told, and what it returns must be None.

Implementations are marked with ``skyloom.hookspecs.hookimpl``, take any of the hook's arguments by name and
give none of them a default.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pluggy
from numpy.typing import NDArray

if TYPE_CHECKING:
    import galsim

    from skyloom import descriptors
    from skyloom.profiles import ProfileBatch, ProfileRequest

__all__ = ["PROJECT", "hookimpl", "hookspec"]

PROJECT = "skyloom"
"""pluggy's project name, and the entry point group that plugins are found in."""

hookspec = pluggy.HookspecMarker(PROJECT)
hookimpl = pluggy.HookimplMarker(PROJECT)

# --- Named things, collected when something is asked for by name --------------------------------------------


@hookspec
def skyloom_generators() -> Sequence[descriptors.GeneratorEntry]:  # type: ignore[empty-body]
    """Give named generators, ready to use.

    Kind: collect. Called when a model is asked for by name or listed; must not load weights.
    Example: ``return [GeneratorEntry("sersic", spec=SPEC, factory=SersicGenerator)]``.
    """


@hookspec
def skyloom_generator_families() -> Sequence[descriptors.GeneratorFamily]:  # type: ignore[empty-body]
    """Give architectures that load a weights file whose model card names them as its family.

    Kind: collect. Called when a model is asked for by the path of its weights.
    Example: ``return [GeneratorFamily("cvae", load=load_generator)]``.
    """


@hookspec
def skyloom_populations() -> Sequence[descriptors.Population]:  # type: ignore[empty-body]
    """Give sources of conditions.

    Kind: collect. Called when a population is asked for by name or listed.
    Example: ``return [Population("field", sample=sample_field)]``.
    """


@hookspec
def skyloom_surveys() -> Sequence[descriptors.Survey]:  # type: ignore[empty-body]
    """Give named observing conditions: PSF, pixel scale (arcsec), zero point (AB), exposure (s), detector.

    Kind: collect. Called when a survey is asked for by name or listed.
    Example: ``return [Survey("balloon", load=balloon)]``.
    """


@hookspec
def skyloom_noise_models() -> Sequence[descriptors.NoiseModel]:  # type: ignore[empty-body]
    """Give named noise models, from expected electrons to ADU.

    Kind: collect. Called when a noise model is asked for by name or listed.
    Example: ``return [NoiseModel("emccd", add=add_emccd_noise)]``.
    """


@hookspec
def skyloom_cutout_readers() -> Sequence[descriptors.CutoutReader]:  # type: ignore[empty-body]
    """Give readers of files of real galaxies.

    Kind: collect. Called when cutouts are read from a path.
    Example: ``return [CutoutReader("asdf", accepts=is_asdf, read=read_asdf)]``.
    """


@hookspec
def skyloom_metrics() -> Sequence[descriptors.Metric]:  # type: ignore[empty-body]
    """Give scores that compare simulated with real cutouts.

    Kind: collect. Called when a validation is run or its metrics are listed.
    Example: ``return [Metric("gini", compute=compare_gini)]``.
    """


@hookspec
def skyloom_commands() -> Sequence[descriptors.Command]:  # type: ignore[empty-body]
    """Give subcommands of ``skyloom``.

    Kind: collect. Called by ``skyloom --help`` and for a command that is not built in.
    Example: ``return [Command("mosaic", load=mosaic_command)]``.
    """


# --- The way of a galaxy ------------------------------------------------------------------------------------


@hookspec
def skyloom_before_profiles(request: ProfileRequest) -> None:
    """Be told of a request for galaxies.

    Kind: observe. Called once a request, before the galaxies are made.
    Units: those of `skyloom.Conditions`: arcsec, radians, nm, AB mag, electrons.
    Example: ``log.info("%d galaxies", len(request.conditions))``.
    """


@hookspec(firstresult=True)
def skyloom_profiles(request: ProfileRequest) -> ProfileBatch | None:
    """Make the galaxies of a request, one row a galaxy in the request's order.

    Kind: first result; the built-in, which calls the generator that the request names and makes rows of the kind
    ``star`` points, answers last. Called once a request, whose rows are of one ``request.kind``. None leaves the
    request to the built-in.
    Units: `half_light_radius` in arcsec, `flux` in electrons, `jacobian` in arcsec per canonical unit.
    Example: ``return remote.sample(request.conditions) if request.generator == "remote" else None``.
    """


@hookspec(firstresult=True)
def skyloom_after_profiles(request: ProfileRequest, batch: ProfileBatch) -> ProfileBatch | None:
    """Be told of the galaxies that were made, or replace them.

    Kind: observe (a plain implementation returns None), or replace (a wrapper returns the batch that goes
    on). Called once a request; wrappers run first, and observers are told what came out of them.
    Units: as for `skyloom_profiles`.
    Example, with ``@hookimpl(wrapper=True)``: ``batch = yield``, then ``return dataclasses.replace(batch,
    flux=...)``.
    """


@hookspec(firstresult=True)
def skyloom_lens(
    batch: ProfileBatch, g1: NDArray[np.float64], g2: NDArray[np.float64], mu: NDArray[np.float64]
) -> ProfileBatch | None:
    """Lens galaxies, by their Jacobian and flux.

    Kind: first result; the built-in shears and magnifies as GalSim's ``lens`` does. Called by
    `skyloom.render_field`, once a batch that has shear or magnification, after the profiles were made; not for stars.
    Units: reduced shear `g1`, `g2` and magnification `mu` are pure numbers, each of shape (N,).
    Example: ``return dataclasses.replace(batch, jacobian=A @ batch.jacobian, flux=batch.flux * mu)``.
    """


@hookspec(firstresult=True)
def skyloom_psf(name: str, wavelength: float, x: float, y: float) -> galsim.GSObject | None:
    """Give the PSF at a place of the image.

    Kind: first result; the built-in has those of the surveys. Called by `skyloom.render_field` for a PSF that is
    chosen by name, once a cell of the image that has objects, with the cell's middle; None when the name is not the
    plugin's.
    Units: `wavelength` in nm (observed); `x`, `y` in pixels, 1-based as in FITS; the PSF in arcsec, of flux
    1. Example: ``return galsim.Gaussian(fwhm=0.16) if name == "toy" else None``.
    """


@hookspec(firstresult=True)
def skyloom_add_noise(
    image: NDArray[np.float32], name: str, parameters: Mapping[str, float], rng: np.random.Generator
) -> NDArray[np.float32] | None:
    """Turn expected electrons into an observed image.

    Kind: first result; the built-in calls the model of `skyloom_noise_models` of this name. Called by
    `skyloom.render_field`, once an image, which may be overwritten; None when the noise model `name` is not the
    plugin's.
    Units: `image` (ny, nx) in electrons, sky included; the result in ADU. `parameters` holds ``gain``
    (e-/ADU), ``read_noise`` (e-), ``exptime`` (s), ``sky`` (e-/pixel) and what else the model takes. All randomness
    comes from `rng`.
    Example: ``return (rng.poisson(image) / parameters["gain"]).astype("float32")``.
    """


@hookspec
def skyloom_after_image(image: NDArray[np.float32], truth: Any, provenance: Mapping[str, Any]) -> None:
    """Be told of a finished image.

    Kind: observe. Called by `skyloom.render_field`, once an image, before it is returned; the array is read-only.
    Units: `image` (ny, nx) in ADU; `truth` an `astropy.table.Table`, one row a galaxy, units in its columns.
    Example: ``log.info("%s: %d galaxies", provenance["config_sha256"], len(truth))``.
    """


@hookspec
def skyloom_on_error(error: BaseException, stage: str, galaxy_id: int | None) -> None:
    """Be told of a failure; it is raised all the same.

    Kind: observe. Called once a failure with the stage's name (``profiles`` in both drivers; ``observing``,
    ``catalogue``, ``lens``, ``psf``, ``draw``, ``noise``, ``after_image`` in `skyloom.render_field`), and the galaxy
    where one is to blame. What goes wrong in here is logged and does not hide `error`.
    Example: ``alerts.send(f"{stage}: {error}")``.
    """
