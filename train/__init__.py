"""A YOLO data set in, weights out."""
