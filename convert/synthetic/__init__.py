"""Drawn chest radiographs in the raw layouts of the challenge, for tests, the demo and first steps.

Of the other packages it imports only what the releases' files are called.
"""
