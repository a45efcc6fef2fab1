"""Devices at the other end of a link: the agent, and machines without Python."""
