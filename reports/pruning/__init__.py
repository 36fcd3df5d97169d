"""What the papers say of their algorithms beside what pruners do."""
