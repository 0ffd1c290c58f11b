"""The command line of defectgan: parses, calls, prints."""
