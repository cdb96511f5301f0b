// Sessions and runs.
