"""What people see of one model or table, printed, plotted or written."""
