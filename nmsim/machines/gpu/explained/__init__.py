"""What a GPU tells of a launch: parts of its cycles, changes that may mend them, a trace."""
