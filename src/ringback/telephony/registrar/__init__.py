"""A small SIP registrar: phones say where they can be called. UDP, digest authentication, nothing else."""
