"""The colours of plots and pages."""

BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "#5a5a5a"
"""Colour-blind readers tell them apart, too (M. Okabe and K. Ito, Color Universal Design, 2008)."""
