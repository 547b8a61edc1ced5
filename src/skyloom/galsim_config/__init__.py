"""The types GalSim's configuration knows once it has read ``modules: [skyloom]``.

======================== ======================= =============================================
where                    name                    file
======================== ======================= =============================================
``input``                ``learned_galaxies``    `skyloom.galsim_config.input_learned`
``gal.type``             ``LearnedGalaxy``       `skyloom.galsim_config.object_learned`
``image.type``           ``LearnedScattered``    `skyloom.galsim_config.image_scattered`
any value                ``LearnedGalaxyValue``  `skyloom.galsim_config.value`
``output``               ``provenance``          `skyloom.galsim_config.provenance`
``output``               ``learned_truth``       `skyloom.galsim_config.truth_table`
``output``               ``learned_stamps``      `skyloom.galsim_config.stamp_output`
``input``, ``gal.type``  galsim_hub's names      `skyloom.galsim_config.hub`
======================== ======================= =============================================

Importing this package registers them; it loads neither torch nor a model.
"""

from skyloom.galsim_config import (
    hub,
    image_scattered,
    input_learned,
    object_learned,
    provenance,
    stamp_output,
    truth_table,
    value,
)

__all__ = [
    "hub",
    "image_scattered",
    "input_learned",
    "object_learned",
    "provenance",
    "stamp_output",
    "truth_table",
    "value",
]
