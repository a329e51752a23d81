"""What people can ask for: one file a subject, each with a router of its own."""
