"""From the boxes table to a data set on disk: splits, plan, conversion, layout; and COCO JSON of what is there.

Imports `convert.sources` and what is below it.
"""
