"""Named observing conditions: PSF, pixels, zero point, sky and detector of real surveys."""

from skyloom.surveys.observing import ObservingConditions
from skyloom.surveys.registry import list_surveys, load_survey, survey_table

__all__ = ["ObservingConditions", "list_surveys", "load_survey", "survey_table"]
