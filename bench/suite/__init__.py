"""The comparisons of `make bench`; see bench/run."""
