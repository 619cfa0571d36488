"""The real roles and store under the virtual clock, with faults by seed, and every promise checked."""
