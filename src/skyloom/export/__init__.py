"""Learned galaxies as files that other simulators read without this package.

GalSim's RealGalaxyCatalog (also read by romanisim, through `galsim.COSMOSCatalog`), and FITS stamps with an
instance catalogue (imSim).
"""

from skyloom.export.instance import InstanceWriter
from skyloom.export.real_galaxy import RealGalaxyWriter
from skyloom.export.run import export_galaxies, export_instance_catalog, export_real_galaxy
from skyloom.export.settings import ExportSettings

__all__ = [
    "ExportSettings",
    "InstanceWriter",
    "RealGalaxyWriter",
    "export_galaxies",
    "export_instance_catalog",
    "export_real_galaxy",
]
