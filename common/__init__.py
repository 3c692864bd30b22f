"""What every room shares, and what passes between them.

Knows nothing of sources of X-rays, models or scores; imports nothing of the other rooms.
"""
