"""One training run on many devices and hosts: a mesh, rules that place parameters, what is sent."""
