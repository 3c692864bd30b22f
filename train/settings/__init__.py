"""What a user can set: arguments of `yolo train` and ours, with defaults, checks and recipes. Imports nothing heavy."""
