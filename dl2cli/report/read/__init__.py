"""Finds run logs and reads them: every published format, and ours."""
