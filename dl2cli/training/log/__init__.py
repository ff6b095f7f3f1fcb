"""What a training tells while it runs, and those who write it down."""
