"""What is pruned, where and when: recipes by name, the masks that they make, their schedules."""
