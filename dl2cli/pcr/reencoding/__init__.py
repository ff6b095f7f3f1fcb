"""Images that are encoded anew: what cannot be transcoded, and what the user asks for."""
