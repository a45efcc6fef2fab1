"""The verbs of the command line; each returns a report with its exit status."""
