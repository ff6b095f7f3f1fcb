"""What iostat and meminfo logged beside a run."""
