"""Pictures, figures and reports, for whoever has something to show."""
