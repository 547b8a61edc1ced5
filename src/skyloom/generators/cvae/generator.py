"""The trained model as a generator: conditions in, light profiles out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from skyloom.conditions import Conditions
from skyloom.errors import BadInputError
from skyloom.frames import axis_angle, grid_angle, profile_jacobian
from skyloom.generators.checkpoint import ModelCard
from skyloom.generators.cvae.amplitude import drawn_maps, gain_at, strength_of
from skyloom.generators.cvae.data import GRID_SCALE, GRID_SIZE, Stamps, fitted_conditions
from skyloom.generators.cvae.encode import referenced
from skyloom.generators.cvae.evidence import evidence_gain, posterior_of
from skyloom.generators.cvae.fast_grid import FastGrid
from skyloom.generators.cvae.features import condition_features, without_band
from skyloom.generators.cvae.frame import turned_maps
from skyloom.generators.cvae.images import model_residuals
from skyloom.generators.cvae.importance import Sampling, log_evidence
from skyloom.generators.cvae.instrument import (
    GridGeometry,
    grid_points,
    log_likelihood,
    observe,
)
from skyloom.generators.cvae.net import Decoder, Encoder
from skyloom.generators.cvae.posterior import Galaxies
from skyloom.generators.cvae.prior import LatentPrior
from skyloom.generators.cvae.reencode import encode_cutouts
from skyloom.generators.cvae.refine import REFINE_STEPS, refined_posterior
from skyloom.generators.cvae.sampler import Sampler
from skyloom.generators.cvae.structure_scale import shared_conditions, structure_scale
from skyloom.generators.density import ConditionDensity
from skyloom.generators.ranges import apply_policy
from skyloom.normalise import dilation
from skyloom.profiles import GeneratorSpec, OutOfRange, ProfileBatch
from skyloom.rng import check_seed, galaxy_normals

if TYPE_CHECKING:
    from skyloom.stamps import Cutout

__all__ = ["CVAEGenerator"]

BATCH = 16
"""Galaxies the networks see at a time, always: a network's last digits change with the size of its batch."""


class CVAEGenerator:
    """Galaxies from the conditional VAE.

    Parameters
    ----------
    encoder, decoder, prior
        The trained parts.
    card : ModelCard
    density : ConditionDensity, optional
        What the training galaxies span jointly.
    gain : Tensor, optional, shape (K, 3)
        How much stronger than decoded structure is drawn, of `skyloom.generators.cvae.structure_gain.structure_gain`.
    """

    def __init__(
        self,
        encoder: Encoder,
        decoder: Decoder,
        prior: LatentPrior,
        card: ModelCard,
        density: ConditionDensity | None = None,
        gain: Tensor | None = None,
    ) -> None:
        self.encoder, self.decoder, self.prior, self.card = encoder.eval(), decoder.eval(), prior, card
        self.density, self.gain = density, torch.ones(1, 3) if gain is None else gain
        self._sampler: Sampler | None = None
        self._grid = FastGrid(GridGeometry.of(grid_points(GRID_SIZE, GRID_SCALE, torch.zeros(1))))

    @property
    def spec(self) -> GeneratorSpec:
        """What it takes and gives."""
        return self.card.spec

    def sample(
        self,
        conditions: Conditions,
        *,
        seed: int,
        out_of_range: OutOfRange = "error",
        temperature: float = 1.0,
    ) -> ProfileBatch:
        """Draw one galaxy for each row of conditions.

        Parameters
        ----------
        conditions : Conditions
        seed : int
            With a galaxy's id it fixes its latent: the same galaxy in every band, batch and order. Its structure stays
            where it is on the sky when `structure_radius`, `q` and `beta` are the same in all bands.
        out_of_range : {'error', 'clip', 'parametric'}
            What to do with rows outside ``spec.ranges`` or the density of the training galaxies' conditions.
        temperature : float
            Scales the latent's scatter about the mean galaxy of the conditions; 1 is the trained distribution. At least
            0.

        Returns
        -------
        ProfileBatch

        Raises
        ------
        OutOfRangeError
            When a row is out of range and the policy is ``"error"``.
        BadInputError
            When a condition, the seed or the temperature cannot be used; also when a half-light radius is not within
            0.3 to 3 times the structure radius.
        """
        seed = check_seed(seed)
        if not 0 <= temperature < np.inf:
            raise BadInputError(f"temperature must be a number of at least 0, not {temperature!r}")
        drawn, drawn_from, parametric = apply_policy(conditions, self.spec, out_of_range, self.density)
        noise = torch.from_numpy(galaxy_normals(seed, conditions.galaxy_id, "latent", self.prior.noise_size))
        residual = np.zeros((len(conditions), GRID_SIZE, GRID_SIZE), np.float32)
        rows = np.flatnonzero(~parametric)
        if rows.size:
            chosen = torch.from_numpy(rows)
            asked, learned = conditions[rows], drawn[rows]
            y, shared = (condition_features(c) for c in (learned, shared_conditions(learned, self.spec)))
            angle = torch.from_numpy(grid_angle(asked.q, axis_angle(asked.beta))).float()
            n = torch.tensor(asked.sersic_n, dtype=torch.float32)
            log_scale = torch.from_numpy(np.log(structure_scale(conditions, rows))).float()
            inputs = (y, shared, noise[chosen], n, angle, log_scale)
            for start in range(0, len(rows), BATCH):
                part = [_padded(t[start : start + BATCH]) for t in inputs]
                residual[rows[start : start + BATCH]] = self._residuals(part, temperature)[: len(rows) - start]
        return self._batch(conditions, residual, drawn_from, seed)

    @torch.inference_mode()
    def _residuals(self, inputs: Sequence[Tensor], temperature: float) -> NDArray[np.float32]:
        """Residual grids of `BATCH` galaxies."""
        y, shared, noise, n, angle, log_scale = inputs
        if self._sampler is None:
            self._sampler = Sampler(self.decoder, self.prior)
        z, mirrored = self._sampler.draw(without_band(shared), noise, temperature)
        maps = self._sampler.decode(z, y)
        f = drawn_maps(maps, n, log_scale.exp(), gain_at(self.gain, n, strength_of(maps[1])))
        return self.drawn(f, n, angle, mirrored).numpy()

    def drawn(self, f: Tensor, sersic_n: Tensor, angle: Tensor, mirrored: Tensor) -> Tensor:
        """Residual grids of maps.

        Parameters
        ----------
        f : Tensor, shape (B, ROWS, COLUMNS)
            As it is to be drawn.
        sersic_n, angle : Tensor, shape (B,)
        mirrored : bool Tensor, shape (B,)

        Returns
        -------
        Tensor, shape (B, G, G)
        """
        f = torch.where(mirrored[:, None, None], f.flip(2), f)
        f = turned_maps(f, angle)  # along phi, so that the grid's points are the same for every galaxy
        return self._grid.residual(f, sersic_n)

    def encode_maps(self, cutouts: Sequence[Cutout]) -> NDArray[np.float32]:
        """What the encoder sees in cutouts: maps of f, `skyloom.generators.cvae.reencode.encode_cutouts`."""
        return encode_cutouts(self.encoder, self.decoder, cutouts)

    def _batch(
        self, conditions: Conditions, residual: NDArray[np.float32], drawn_from: NDArray[np.str_], seed: int
    ) -> ProfileBatch:
        stretch = dilation(residual, GRID_SCALE, conditions.sersic_n)
        size = conditions.half_light_radius / stretch
        return ProfileBatch(
            galaxy_id=conditions.galaxy_id,
            sersic_n=conditions.sersic_n,
            flux=conditions.flux,
            half_light_radius=conditions.half_light_radius,
            q=conditions.q,
            beta=conditions.beta,
            jacobian=profile_jacobian(size, conditions.q, conditions.beta),
            residual=residual,
            grid_scale=GRID_SCALE,
            drawn_from=drawn_from,
            wavelength=conditions.wavelength,
            redshift=conditions.redshift,
            generator=self.spec.name,
            weights_sha256=self.spec.weights_sha256,
            seed=seed,
        )

    @torch.no_grad()
    def reconstruct(self, cutouts: Sequence[Cutout], refine: int = REFINE_STEPS) -> ProfileBatch:
        """The profiles of real galaxies: posterior mean of the latents, on each cutout's own Sersic fit.

        Cutouts of one galaxy (same source and id) in several bands share one posterior. The other galaxies and their
        order change nothing beyond rounding.

        Parameters
        ----------
        cutouts : sequence of Cutout
            With Sersic fits, of one stamp size.
        refine : int
            Gradient steps that improve each posterior beyond the encoder's guess; 0 leaves it.

        Returns
        -------
        ProfileBatch
            In the order given; fluxes in the cutouts' units, `offset` as fitted.

        Raises
        ------
        TrainingError
            When there are none, one has no Sersic fit, or their stamps differ in size.
        """
        items = list(cutouts)
        stamps = Stamps.from_cutouts(items)
        conditions = fitted_conditions(items)
        residuals = torch.zeros(len(stamps), GRID_SIZE, GRID_SIZE)
        amplitudes = torch.zeros(len(stamps))
        for index, galaxies in Galaxies.of(stamps).batches(BATCH):
            told = posterior_of(self.encoder, stamps, index, galaxies)
            rng = torch.Generator().manual_seed(0)
            mean, _ = refined_posterior(
                self.decoder, stamps, index, galaxies, told[:2], told[2], steps=refine, generator=rng
            )
            z, still = mean[galaxies.row], told[2]
            y = referenced(stamps.features[index], galaxies)
            residuals[index] = model_residuals(self.decoder, stamps, index, z, y, still)
            amplitudes[index] = log_likelihood(observe(residuals[index], stamps, index), stamps, index)[2]
        residual_grids = residuals.numpy()
        stretch = dilation(residual_grids, GRID_SCALE, conditions.sersic_n)
        share = 1 + residual_grids.sum((1, 2), dtype=np.float64) * GRID_SCALE**2
        conditions = conditions.replace(
            flux=conditions.flux * amplitudes.numpy() * share,
            half_light_radius=conditions.half_light_radius * stretch,
        )
        batch = self._batch(conditions, residual_grids, np.full(len(items), "learned", "<U10"), 0)
        offset = np.array([[c.fit.dx, c.fit.dy] for c in items if c.fit is not None])
        return replace(batch, offset=offset, galaxy_id=np.array([c.galaxy_id for c in items], np.int64))

    def held_out(
        self,
        cutouts: Sequence[Cutout],
        draws: int = 3,
        together: bool = False,
        refine: int = REFINE_STEPS,
        correlated: bool = False,
    ) -> dict[str, NDArray[np.float64]]:
        """How much better than their Sersic fits the model explains cutouts, a bound on the gain in log evidence.

        Parameters
        ----------
        cutouts : sequence of Cutout
            With Sersic fits, of one stamp size.
        draws : int
            Latents drawn for the expectation.
        together : bool
            Judge all cutouts of one galaxy by their joint posterior: figures are then a galaxy, in the order of first
            appearance, not a cutout.
        refine : int
            Gradient steps that improve each posterior; 0 gives the bound of the encoder alone, which is looser.
        correlated : bool
            Also try posteriors with correlations between latents, for a tighter bound; some 5 seconds a cutout.

        Returns
        -------
        dict of ndarray, shape (N,)
            ``gain`` (nats), ``chi2_sersic``, ``chi2`` and ``kl``; see `skyloom.generators.cvae.evidence`.
        """
        stamps = Stamps.from_cutouts(list(cutouts))
        with torch.random.fork_rng(devices=[]):  # the caller's random numbers are not ours
            torch.manual_seed(0)
            galaxies = Galaxies.of(stamps) if together else None
            found = evidence_gain(
                self.encoder, self.decoder, stamps, draws, galaxies, refine=refine, correlated=correlated
            )
        return {name: values.double().numpy() for name, values in found.items()}

    def log_density(self, cutouts: Sequence[Cutout], samples: int = 256) -> dict[str, NDArray[np.float64]]:
        """Log p(x | y) of each galaxy and its error; see `skyloom.generators.cvae.importance.log_evidence`."""
        stamps = Stamps.from_cutouts(list(cutouts))
        rng = torch.Generator().manual_seed(0)
        found = log_evidence(
            self.encoder, self.decoder, self.prior, stamps, Galaxies.of(stamps), Sampling(samples), rng
        )
        return {name: values.numpy() for name, values in found.items()}


def _padded(values: Tensor) -> Tensor:
    """Fill a short batch up with its first row."""
    return torch.cat([values, values[:1].expand(BATCH - len(values), *values.shape[1:])])
