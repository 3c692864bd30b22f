"""A score as a page, on the terminal, and in Weights & Biases."""
