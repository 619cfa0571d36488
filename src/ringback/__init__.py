"""Ringback: a self-hosted outbound voice platform built around automatic redial."""

__version__ = "0.1.0"
