"""Pure functions from artefacts to what a page shows; testable without Streamlit."""
