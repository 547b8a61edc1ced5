"""Where conditions come from: populations by name, and catalogues on disk."""

from skyloom.populations.catalogue import Catalogue
from skyloom.populations.read import read_catalogue
from skyloom.populations.registry import LoadedPopulation, list_populations, load_population

__all__ = ["Catalogue", "LoadedPopulation", "list_populations", "load_population", "read_catalogue"]
