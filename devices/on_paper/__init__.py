"""Devices that nobody has at hand: spec sheets, work, and the time that follows."""
