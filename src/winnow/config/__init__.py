"""params.yaml, checked at the door: what each section takes, and sentences for what it does not."""
