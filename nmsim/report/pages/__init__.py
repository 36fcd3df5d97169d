"""Pages as a browser shows them: their parts, and a module for each kind of result."""
