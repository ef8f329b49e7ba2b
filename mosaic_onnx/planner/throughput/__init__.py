"""Plans for throughput: the busiest device of a pipeline decides."""
