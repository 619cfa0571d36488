"""Placing calls: the port every engine implements, and one adapter a module."""
