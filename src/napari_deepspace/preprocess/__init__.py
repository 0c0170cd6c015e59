"""From raw counts to what a model learns: which spots, and on which scale."""
