"""Branch coverage of a backward pass: where it decides, what no point reached, and inputs that do."""
