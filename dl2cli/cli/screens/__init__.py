"""Results as tables and charts for a terminal."""
