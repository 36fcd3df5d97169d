"""What the closed form of a GPU lacks, learned: its account as features, and corrections."""
