"""One parser per source: what RSNA, VinBigData, SIIM, the NIH and others publish, to `convert.sources.parsed.Parsed`.

Imports `convert.sources` and what is below it; knows nothing of splits or of the data set that is made.
"""
