"""The page that shows the numbers and the pictures."""
