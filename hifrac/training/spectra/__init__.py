"""The network of spectra: template spectra read off thousands of pictures, lines off hundreds."""
