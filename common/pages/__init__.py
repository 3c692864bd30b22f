"""What pages are made of: templates, figures as SVG, numbers in words, pictures with boxes.

Knows neither data sets nor scores: charts get tables and numbers, and say nothing of where these come from.
"""
