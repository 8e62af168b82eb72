"""What the tests share: tiny models, servers on loopback, data made by hand."""
