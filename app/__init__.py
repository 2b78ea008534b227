"""The service: settings, `create_app`, API routes, storage, telemetry and the `coterie` command.

The only folder that wires the others together. Knows nothing of Streamlit or benchmarks.
"""
