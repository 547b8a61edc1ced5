"""The conditional VAE: networks, likelihood, training, prior, and the generator made of them."""
