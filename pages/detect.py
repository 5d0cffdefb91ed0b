import streamlit as st

st.title("detect")
