"""What stays makes up for what went, by least squares on calibration data."""
