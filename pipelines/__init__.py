"""The stages: parameters and files in, files out. Nothing else, and no other room imports them."""
