"""From raw DICOM files, pictures and tables to a YOLO data set; and what is in the data, as a page.

The modules of this folder are commands, and `converter`, their common frame. The work is in the packages below it:
pictures <- sources <- parsers, yolo_set <- exploring; downloads and synthetic stand beside them. Imports `common`
alone.
"""
