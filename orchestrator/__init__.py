"""Upgrades fleets of services that share a database without stopping them."""

__version__ = "0.1.0"
