"""The demo: real photographs, planted cases, and what was found of them."""
