"""What a study found, in the forms that other tools read."""
