"""The tars, and the sensor that sees them come and go."""
