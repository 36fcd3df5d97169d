"""How long a simulation takes, against its work."""
