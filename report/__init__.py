"""Turns records into one self-contained page."""
