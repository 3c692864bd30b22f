"""What came of a study's trials, from their files: noise, effects, importance, costs. Imports nothing of `run`."""
