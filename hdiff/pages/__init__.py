"""Pages: reports, inspections and trajectories as self-contained HTML."""
