"""Tables and texts as a terminal shows them, a module for each command that prints some."""
