"""Training the gate: an image classifier on the same data set, calibrated. Builds on `train.detector`."""
