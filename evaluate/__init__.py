"""Weights or predictions in, numbers and pictures out."""
