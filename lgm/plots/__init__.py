"""Arrays in, plotly figures and PNG out."""
