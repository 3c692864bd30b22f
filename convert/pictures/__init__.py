"""One door for reading a picture, DICOM or picture file: pixels in, an 8-bit grey picture and its header fields out.

Used by conversion, exploring, finding patients, and prediction. Knows no source and no table.
"""
