"""Running a partitioned model: one loaded runner a slice, buffers made once, transfers where memories differ."""
