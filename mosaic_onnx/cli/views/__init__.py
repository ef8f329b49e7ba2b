"""Views: tables and lines made of what the API returns."""
