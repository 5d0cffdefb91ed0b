import streamlit as st

st.title("craft")
