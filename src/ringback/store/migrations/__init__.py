"""Schema migrations, run by :mod:`ringback.store.migrate`."""
