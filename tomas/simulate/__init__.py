"""Discrete-event simulation of plans against changed capacity or arrivals."""
