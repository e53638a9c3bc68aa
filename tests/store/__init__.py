"""The contract suite of the store: what every engine must pass."""
