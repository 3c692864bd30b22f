"""Raw data in, YOLO data set out; knows nothing of models."""
