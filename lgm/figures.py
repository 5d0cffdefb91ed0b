"""Arrays in, plotly figures out. Colours of roles and classes live here and nowhere else."""

# Roles keep their colour on every page. Chosen from palettes made for colour-blind readers; each stands out by 3:1
# from both the light and the dark background.
ROLE = {
    "clean": "#3B82C4",
    "poison": "#D55E00",
    "base": "#009E73",
    "target": "#9467D8",
    "lgm": "#B87A00",
    "softmax": "#7A8594",
}
# Ten classes cannot be told apart by hue alone: plots also carry the digit.
CLASS = ["#4477AA", "#EE6677", "#228833", "#B8A520", "#2FA7CE", "#AA3377", "#8C8C8C", "#E07B39", "#2BA084", "#9A6F3F"]
