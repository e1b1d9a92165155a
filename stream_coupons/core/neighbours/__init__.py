"""Which shoppers lie near each other, and which categories go together."""
