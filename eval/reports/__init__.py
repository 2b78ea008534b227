"""Reports of runs: numbers (JSON), pictures, and one self-contained HTML page whose numbers link to items."""
