"""Chaos on the real thing: everything is killed under a campaign, and afterwards carrier and store are compared."""
