"""Measurements of boxwise beside other ways to do the same; no part of what users install."""
