"""Makes parts of the documentation from the code: references, a picture of a plan, a recorded terminal."""
