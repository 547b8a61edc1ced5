"""Learned galaxies for GalSim image simulations."""

__version__ = "0.1.0"
