"""Processing elements: their shapes, what a mask leaves their slots, and what they cost."""
