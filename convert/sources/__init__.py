"""What every parser of a source needs: folders and zips, tables, the boxes table, patients, classes, where files lie.

Imports `convert.pictures` and `common`; knows no single source.
"""
