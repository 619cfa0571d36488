"""The things and their rules as plain values: no I/O, no clock, no database."""
