"""What an optimizer is composed of or wrapped in: clipping, decay, groups, guards, averages."""
