"""HTML reports and Hub cards, from result files only."""
