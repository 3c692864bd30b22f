"""Weights found and loaded safely, pictures found and read, predictions made and kept."""
