"""From the content hash of an image to the rows of tables that hold what was made of it."""
