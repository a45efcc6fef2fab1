"""Why predicted and measured differ, and the runs that tell."""
