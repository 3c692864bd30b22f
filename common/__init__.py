"""What every command needs: errors that help, a command-line frame, whole-or-absent files."""
