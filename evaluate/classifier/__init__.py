"""The gate: an image classifier's calibrated P(opacity) of any picture. Builds on `detector`, and knows no boxes."""
