"""Places to drop files, for screen readers."""

import streamlit as st

# Streamlit gives the place for dropped files a label and a role that denies it; without the role the label counts.
# In a block, as it may run again on the same page.
_SCRIPT = """
<script>
{
const mend = () => {
  for (const zone of document.querySelectorAll("[data-testid=stFileUploaderDropzone][role=presentation]"))
    zone.setAttribute("role", "group");
};
mend();
new MutationObserver(mend).observe(document.querySelector(".st-key-CONTAINER"), { childList: true, subtree: true });
}
</script>
"""


def name_dropzones(container: str) -> None:
    """Let the uploaders in a container, which is told by its key, have the names that they show."""
    st.html(_SCRIPT.replace("CONTAINER", container), unsafe_allow_javascript=True)
