"""Validation: the same measurements on real and simulated cutouts, and statistics that compare them."""
