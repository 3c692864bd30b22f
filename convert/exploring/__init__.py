"""What is in the data, as one page: raw data or a data set, measured, charted and put into sentences.

Imports `convert.sources`, `convert.yolo_set` and what is below them.
"""
