"""From a data set to weights: detectors, a classifier as gate, and studies of what a setting does.

The modules of this folder are commands and `ultralytics_setup`. Nothing imports `train`. settings <- detector <-
classifier <- members; settings <- study. Of `evaluate` it imports the metric, how a gate looks at pictures, the system
that a recipe makes and, in studies, the scoring.
"""
