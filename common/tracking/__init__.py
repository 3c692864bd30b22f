"""Weights & Biases or nothing: logging, and keeping and finding a training's run."""
