"""Metrics (pure) and the tables made from them."""
