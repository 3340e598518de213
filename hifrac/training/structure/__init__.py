"""The structure network: its heads are fitted in closed form to measurements of pictures."""
