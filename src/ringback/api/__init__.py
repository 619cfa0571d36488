"""HTTP: the vendor's door, health and metrics."""
