"""Pure functions from artefacts to page contents; testable without Streamlit."""
