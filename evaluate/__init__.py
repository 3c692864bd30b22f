"""From weights or predictions to an honest score, a report, and predictions for new images.

The modules of this folder are commands. The work is below: metrics <- postprocess <- scoring, report; detector runs
models and is the one place that imports `convert`, for `convert.pictures`.
"""
