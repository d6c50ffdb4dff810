"""Fleets: many devices, in this process, in one process per core, or on several machines."""
