"""The metallicity network: readings learned from thousands of pictures, 12 + log(O/H) from hundreds."""
