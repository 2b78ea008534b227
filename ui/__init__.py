"""The Streamlit console. Knows the HTTP API and nothing else."""
