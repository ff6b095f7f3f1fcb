"""What every command is made of: declared options, help, output."""
