"""Training a detector: Ultralytics' trainers with the RSNA score as fitness, our losses, sampling and resume."""
