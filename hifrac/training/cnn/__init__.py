"""Convolutional networks: trained by steps of an optimizer, with Lightning."""
