"""The search over recipes: many plans on one front between speed, size and quality."""
