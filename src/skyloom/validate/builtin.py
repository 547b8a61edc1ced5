"""The metrics that come with Skyloom."""

from __future__ import annotations

from skyloom.descriptors import Metric
from skyloom.hookspecs import hookimpl

__all__ = ["skyloom_metrics"]


@hookimpl
def skyloom_metrics() -> list[Metric]:
    """Give them all, in the order of the report."""
    # imported when asked for: the plugin manager loads this module for every command
    from skyloom.validate.metrics_colour import colour_metrics
    from skyloom.validate.metrics_conditional import conditional_metrics
    from skyloom.validate.metrics_frechet import frechet_metrics
    from skyloom.validate.metrics_generator import generator_metrics
    from skyloom.validate.metrics_joint import joint_metrics
    from skyloom.validate.metrics_marginal import marginal_metrics
    from skyloom.validate.metrics_means import mean_metrics
    from skyloom.validate.metrics_reconstruction import reconstruction_metrics
    from skyloom.validate.metrics_residual_power import residual_power_metrics
    from skyloom.validate.reencoded_arms import arm_metrics
    from skyloom.validate.reencoded_metrics import reencoded_metrics

    return [
        *marginal_metrics(),
        *mean_metrics(),
        *residual_power_metrics(),
        *reencoded_metrics(),
        *arm_metrics(),
        *colour_metrics(),
        *reconstruction_metrics(),
        *generator_metrics(),
        *conditional_metrics(),
        *joint_metrics(),
        *frechet_metrics(),
    ]
