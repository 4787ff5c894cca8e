"""Good and faulty traffic for a long time: `make soak`."""
