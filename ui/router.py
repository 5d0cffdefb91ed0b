"""The script behind `app.py`: page configuration, what the link asks for, navigation."""

import streamlit as st

from ui import links, state
from ui.frame import style
from ui.load import PAGES


def main() -> None:
    st.set_page_config(
        page_title="LGM: clean-label poisons",
        page_icon=str(PAGES.parent / "ui" / "icon.png"),  # a named icon would be fetched from the internet
        layout="wide",
    )
    style()
    links.adopt()
    state.push()  # before the navigation, so that the new page's address has the state from the start
    pages = st.navigation(
        [
            st.Page(PAGES / "overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page(PAGES / "features.py", title="Features", icon=":material/scatter_plot:"),
            st.Page(PAGES / "craft.py", title="Craft", icon=":material/science:"),
            st.Page(PAGES / "one_shot.py", title="One shot", icon=":material/looks_one:"),
            st.Page(PAGES / "detect.py", title="Detect", icon=":material/shield:"),
            st.Page(PAGES / "defend.py", title="Defend", icon=":material/health_and_safety:"),
            st.Page(PAGES / "train.py", title="Train", icon=":material/model_training:"),
            st.Page(PAGES / "your_data.py", title="Your data", icon=":material/folder_open:"),
        ],
        position="top",
    )
    pages.run()
    state.push()


if __name__ == "__main__":
    main()
