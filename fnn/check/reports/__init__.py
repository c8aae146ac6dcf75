"""What a check found, as values, as text, as JSON and as one HTML page."""
