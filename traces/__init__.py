"""Small recorded traces, and how they were made."""
