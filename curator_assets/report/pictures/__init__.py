"""What the report shows: charts of the numbers, and galleries of images."""
