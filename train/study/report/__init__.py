"""A study's page and Markdown file: tables, charts, and observations in sentences. Reads `analysis`, never trials."""
