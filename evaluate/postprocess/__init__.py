"""What is done to predictions after the model: box scale, gate, fusion. Knows no command and no model."""
