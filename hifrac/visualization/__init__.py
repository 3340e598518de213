"""A result to look at: figures of its pictures and estimates, and a page that is sorted and filtered."""
