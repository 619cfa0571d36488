"""Tables, migrations and every SQL statement, one module a subject."""
