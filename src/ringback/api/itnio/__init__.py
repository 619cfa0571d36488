"""The vendor's door: ITNIO TECH's public voice API, under /voice and /v3/voice."""
