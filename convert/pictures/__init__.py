"""One door for reading a picture, DICOM or picture file: pixels in, an 8-bit grey picture and its header fields out.

Used by conversion, exploring, finding patients, and prediction. Knows no source and no table. Whoever is not in this
package imports from here and does not ask what kind of file it has.
"""

from convert.pictures.header import age_years
from convert.pictures.picture import NOTES, Header, Picture, UnusablePicture, decode_picture, downscale
from convert.pictures.raster import PICTURE_SUFFIXES
from convert.pictures.reading import (
    has_dicom_mark,
    is_kept_png,
    is_picture_file,
    object_without_image,
    read_header,
    read_notes,
    read_picture,
    read_pixels,
    read_shown,
)

__all__ = [
    "NOTES",
    "PICTURE_SUFFIXES",
    "Header",
    "Picture",
    "UnusablePicture",
    "age_years",
    "decode_picture",
    "downscale",
    "has_dicom_mark",
    "is_kept_png",
    "is_picture_file",
    "object_without_image",
    "read_header",
    "read_notes",
    "read_picture",
    "read_pixels",
    "read_shown",
]
