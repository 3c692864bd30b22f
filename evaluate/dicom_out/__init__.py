"""Results as DICOM objects: a Structured Report and a Secondary Capture for each DICOM file. Needs highdicom.

For research only: nothing here makes a medical device of a detector.
"""
