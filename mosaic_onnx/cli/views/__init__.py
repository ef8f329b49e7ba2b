"""What commands show: tables and lines made of what the API returns."""
