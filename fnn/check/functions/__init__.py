"""`check.function`: any JAX function brought into the form of a subject, and its own rules on trial."""
