"""Image formation in torch: pure functions of arrays, tested against GalSim."""
