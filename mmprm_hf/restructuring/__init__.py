"""Free-form solutions to tagged steps by an endpoint model, with checks that their content survives."""
