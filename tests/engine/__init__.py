"""The gateway before a genuine engine: `make engine-test`. `make test` collects no folder `engine`."""
