"""Entry point: page configuration, navigation and the sidebar's choice of data and models."""

import streamlit as st

from ui import load, state
from ui.frame import style


def main() -> None:
    st.set_page_config(
        page_title="LGM: clean-label poisons",
        page_icon=":material/scatter_plot:",
        layout="wide",
        initial_sidebar_state="collapsed",
    )
    style()
    state.pull()
    pages = st.navigation(
        [
            st.Page("pages/overview.py", title="Overview", icon=":material/home:", default=True),
            st.Page("pages/features.py", title="Features", icon=":material/scatter_plot:"),
            st.Page("pages/craft.py", title="Craft", icon=":material/science:"),
            st.Page("pages/detect.py", title="Detect", icon=":material/shield:"),
            st.Page("pages/train.py", title="Train", icon=":material/model_training:"),
        ],
        position="top",
    )
    with st.sidebar:
        load.choose_data()
    pages.run()
    state.push()
    load.warm_up()


if __name__ == "__main__":
    main()
