"""Configs: plain Python that imports neither jax nor zhlm, so that a laptop can read and sweep it."""
