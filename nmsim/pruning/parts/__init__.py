"""What pruners are made of: the contract of a pruner, draws, groups, tiles and lanes."""
