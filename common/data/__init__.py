"""The files between the rooms, read and checked once: tables, data YAMLs, labels, and a data set as a whole.

Imports nothing of the rooms that write and read these files.
"""
