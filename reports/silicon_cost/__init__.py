"""What N:M costs in silicon, and whether it pays at equal area, power or bandwidth."""
