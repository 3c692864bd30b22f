"""What others publish, to the boxes table: folders and zips, tables, patients, classes, and one parser per source.

Imports `convert.pictures` and `common`; knows nothing of splits or of the data set that is made.
"""
