"""What runs all the time: dialler, conductor, supervisor."""
